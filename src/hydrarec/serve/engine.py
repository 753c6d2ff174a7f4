"""A recommender that is told each event when it happens: many users' events or requests in one call, no HTTP here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from hydrarec.data.batch import REQUEST_TIMES
from hydrarec.errors import InputError
from hydrarec.models.recurrent import RecurrentModel
from hydrarec.models.waiting import hidden_states
from hydrarec.recommender import Recommender
from hydrarec.serve.catalog.catalog import Catalog
from hydrarec.serve.catalog.indexing import IndexChoice, Indexing
from hydrarec.serve.catalog.items import Items
from hydrarec.serve.catalog.ranking import Conditions
from hydrarec.serve.catalog.unseen import Asked, Unseen
from hydrarec.serve.packing import Precision, StatePacker
from hydrarec.serve.sample import sample_histories
from hydrarec.serve.states import UserStates, batch_of
from hydrarec.serve.stepping import step_
from hydrarec.serve.stores.contract import Event, History, Store
from hydrarec.serve.version import version_of

_NONE = np.empty(0, np.int64)
_SAMPLED = 256  # histories to measure an index with
_Asked = tuple[Tensor, Tensor, Tensor]  # hidden states (n, d), whether there is one (n,), events (n,)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A question for the k best items.

    Attributes:
        user: of the store, with all its events.
        history: instead of a user of the store; nothing of it is kept.
        at: request time, seconds since 1970; one before the last event counts as that event's, and so does None.
        exclude_seen: leave out the items of the user's events, or of the history.
        allowed: (n,) int64, the rows that may be recommended (``Catalog.allowed``); None: all.
        excluded: ids of items to leave out.
    """

    user: str | None = None
    history: History | None = None
    k: int = 10
    at: int | None = None
    exclude_seen: bool = False
    allowed: Tensor | None = None
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The best items with the caller's own ids, best first, and how many events of the user the answer knows of.

    Nothing is recommended to a user without an event of an item that the model knows.
    """

    items: list[int | str]
    scores: list[float]
    events: int


class Engine:
    """Args:
    recommender: on the CPU, its model recurrent.
    precision: of the stored states; float16 halves the store (docs/serving.md has what it costs).
    state_limit: of users with a state; the states written longest ago give way, and are made again when asked for.
    index: whether ``reindex`` builds an index of the items.

    Raises:
        InputError: the model keeps no state, or FAISS is asked for and not installed.
    """

    def __init__(
        self,
        recommender: Recommender,
        store: Store,
        *,
        precision: Precision = "float32",
        state_limit: int | None = None,
        index: IndexChoice = "auto",
    ) -> None:
        model = recommender.model
        if not isinstance(model, RecurrentModel):
            raise InputError(
                f"model {recommender.run.settings.name} keeps no state of a user; only hydra can be served"
            )
        self.model, self.store, self.state_limit = model, store, state_limit
        self.reads = recommender.run.settings.train.reads
        self.version = version_of(recommender.run, precision)
        self.items = Items(recommender, model, store, self.version)
        packer = StatePacker(model.initial_state(1), self.items.rows, version=self.version, precision=precision)
        self.states = UserStates(model, self.items, store, packer)
        self._recommender = recommender
        self._indexing = Indexing(index, model.n_items, lambda: self._sampled)

    @property
    def catalog(self) -> Catalog:
        """What can be recommended now."""
        return self.items.view.catalog

    def apply(self, events: Sequence[Event]) -> list[bool]:
        """Store events and bring their users' states up to them, all or nothing; which of them were new.

        Raises:
            StoreError: nothing was changed.
        """
        self.items.follow()  # an event of an item that is not known yet would not be read
        return self.store.append(events, self.states.after, self.version)

    @torch.inference_mode()
    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer many requests at once."""
        hidden = torch.zeros(len(requests), self.model.config.d_model)
        known, events = torch.zeros(len(requests), dtype=torch.bool), torch.zeros(len(requests), dtype=torch.int64)
        for told, read in ((False, self._of_store), (True, self._of_histories)):
            chosen = [place for place, request in enumerate(requests) if (request.history is not None) == told]
            if chosen:
                places = torch.tensor(chosen)
                hidden[places], known[places], events[places] = read([requests[place] for place in chosen])
        view = self.items.view  # with all items that the states know
        pairs = zip(requests, events.tolist(), strict=True)
        asked = [self._asked(*pair, view.catalog) for pair, each in zip(pairs, known, strict=True) if each]
        best = iter(Unseen(view.ranking, view.catalog, self.store).best(hidden[known], asked))
        answers = []
        for each, count in zip(known.tolist(), events.tolist(), strict=True):
            rows, scores = next(best) if each else ([], [])
            answers.append(Answer(items=[view.catalog.ids[row] for row in rows], scores=scores, events=count))
        return answers

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Do once what is slow the first time, such as imports of torch, so that no client waits for it."""
        state, user = self.model.initial_state(1).clone(), torch.zeros(1, dtype=torch.int64)
        for _ in range(2):  # the second one reads the first, where events wait
            step_(self.model, state, user, user, user)
        hidden = hidden_states(self.model, state, user)
        self.items.view.ranking.best(hidden, [Conditions(k=1, allowed=None, denied=_NONE)])

    def reindex(self, go_on: Callable[[], None] = lambda: None) -> None:
        """Build an index of the items where one is due; until it is there, answers come as they did.

        Args:
            go_on: called every second or so, and may raise an error to end it.
        """
        self.items.reindex(self._indexing, go_on)

    def erase(self, user: str) -> bool:
        """Forget a user; ``tidy`` removes what may remain in files."""
        return self.store.erase(user)

    def tidy(self) -> bool:
        """Evict states beyond the limit, and scrub files after an erasure; whether nothing remains to be done."""
        if self.state_limit is not None:
            self.store.evict(self.state_limit)
        return self.store.scrub()

    @cached_property
    @torch.inference_mode()
    def _sampled(self) -> Tensor:
        """(n, d) hidden states of users of the data set."""
        histories = sample_histories(self._recommender, _SAMPLED)
        hidden, known, _ = self._of_histories([Request(history=history) for history in histories])
        return hidden[known]

    def _of_store(self, requests: list[Request]) -> _Asked:
        state, events = self.states.of([request.user or "" for request in requests])
        known = (state.position > 0) | (state.waiting >= 0)
        hidden = torch.zeros_like(state.hidden)
        if known.any():
            asked = torch.maximum(_moments(requests), state.waiting_time)[known]
            hidden[known] = hidden_states(self.model, state.select(known), asked)
        return hidden, known, torch.tensor(events)

    def _of_histories(self, requests: list[Request]) -> _Asked:
        histories = [request.history for request in requests if request.history is not None]
        self.items.follow()
        read = [self.states.known(history).latest(self.reads) for history in histories]
        known = torch.tensor([len(each.rows) > 0 for each in read])
        hidden = torch.zeros(len(requests), self.model.config.d_model)
        if known.any():
            batch = batch_of([each for each in read if len(each.rows)])
            asked = batch.times.roll(-1)
            asked[batch.last] = torch.maximum(_moments(requests)[known], batch.times[batch.last])
            hidden[known] = self.model.hidden_at(replace(batch, columns={REQUEST_TIMES: asked}), batch.last)
        return hidden, known, torch.tensor([len(history.items) for history in histories])

    def _asked(self, request: Request, events: int, catalog: Catalog) -> Asked:
        denied = list(request.excluded)
        if request.exclude_seen and request.history is not None:
            denied += request.history.items
        rows = catalog.rows(denied) if denied else _NONE
        conditions = Conditions(k=request.k, allowed=request.allowed, denied=np.unique(rows[rows >= 0]))
        return Asked(conditions=conditions, user=request.user if request.exclude_seen else None, events=events)


def _moments(requests: Sequence[Request]) -> Tensor:
    """(n,) int64 request times, long ago where there is none."""
    return torch.tensor([-(2**62) if request.at is None else request.at for request in requests])
