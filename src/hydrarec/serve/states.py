"""The states of a store's users: stepped when events come, and made again from the events where one is missing."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch

from hydrarec.data.batch import Batch, pack
from hydrarec.data.windows import fill
from hydrarec.models.recurrent import RecurrentModel
from hydrarec.models.waiting import observe
from hydrarec.nn.state import EncoderState, join
from hydrarec.serve.catalog.items import Items
from hydrarec.serve.packing import StatePacker
from hydrarec.serve.stepping import step_
from hydrarec.serve.stores.contract import Change, History, State, Store, StoreError

_READ_EVENTS = 8_192  # of histories at once


@dataclass(frozen=True, kw_only=True)
class Known:
    """A history as the model reads it: item rows (n,) int64, and their times (n,) int64."""

    rows: np.ndarray
    times: np.ndarray

    def latest(self, most: int) -> "Known":
        """The last ``most`` events; 0 is all."""
        return Known(rows=self.rows[-most:], times=self.times[-most:])


class UserStates:
    """Attributes:
    made: how many were made from histories.
    """

    def __init__(self, model: RecurrentModel, items: Items, store: Store, packer: StatePacker) -> None:
        self.model, self.items, self.store, self.packer = model, items, store, packer
        self.made = 0  # from histories
        self._new = packer.pack(model.initial_state(1))[0]

    def known(self, history: History) -> Known:
        """What the model reads of a history. All of it stays in the store: a later model may know more items."""
        if self.model.reads_unknown_items:
            return Known(rows=self.items.rows.with_unknown(history.items), times=history.times)
        rows = self.items.rows(history.items)
        return Known(rows=rows[rows >= 0], times=history.times[rows >= 0])

    def after(self, changes: Sequence[Change]) -> list[State | None]:
        """The users' states after new events, one step of all users for each event of the user with most.

        None where there are events and no state to go on from: making it could take long, and nobody asked yet.
        """
        accounts = [change.account for change in changes]
        state, places = self.packer.unpack([account.state if account.events else self._new for account in accounts])
        histories = [
            self.known(History(items=[event.item for event in change.events], times=np.array(change.times)))
            for change in (changes[place] for place in places)
        ]
        for number in range(max((len(history.rows) for history in histories), default=0)):
            users = [user for user, history in enumerate(histories) if number < len(history.rows)]
            items = torch.tensor([int(histories[user].rows[number]) for user in users])
            times = torch.tensor([int(histories[user].times[number]) for user in users])
            step_(self.model, state, torch.tensor(users), items, times)
            self.packer.round_(state)
        result: list[State | None] = [None] * len(changes)
        for place, after in zip(places, self.packer.pack(state), strict=True):
            result[place] = after
        return result

    @torch.inference_mode()
    def of(self, users: Sequence[str]) -> tuple[EncoderState, list[int]]:
        """The states of users as one, and how many events each has. Of those without any it is the initial state."""
        accounts = self.store.accounts(users, self.packer.version)
        self.items.follow()  # afterwards, so that all items are known that they could be made of
        state, places = self.packer.unpack([account.state if account.events else self._new for account in accounts])
        missing = sorted(set(range(len(users))) - set(places))
        if missing:
            state = join([state, self._made_again([users[place] for place in missing])])
            state = state.select(torch.tensor([*places, *missing]).argsort())
        return state, [account.events for account in accounts]

    def _made_again(self, users: Sequence[str]) -> EncoderState:
        histories = [self.store.history(user) for user in users]
        self.items.follow()
        states = []
        for run in fill(np.array([len(history.items) for history in histories]), _READ_EVENTS):
            known = [self.known(history) for history in histories[run]]
            state = self.model.initial_state(len(known))
            if any(len(history.rows) for history in known):
                state = observe(self.model, batch_of(known), state)
            self.packer.round_(state)
            self.made += len(state)
            states.append(state)
            made = zip(users[run], histories[run], self.packer.pack(state), strict=True)
            with suppress(StoreError):  # a store that cannot be written can be read all the same
                self.store.keep(list(made))
        return join(states)


def batch_of(histories: Sequence[Known]) -> Batch:
    return pack([history.rows for history in histories], [history.times for history in histories])
