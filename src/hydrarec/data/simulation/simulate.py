"""A simulated shop's events, with the best possible score of every one.

Each next item depends on nothing but the items before it, by a rule that is known (see ``people``). So its exact
distribution is known too, and the place of the item that was really bought under that distribution: no recommender
that sees the history alone can do better on average, for ranking by the true probability is optimal.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hydrarec.data.protocol import Protocol
from hydrarec.data.simulation.clock import event_times
from hydrarec.data.simulation.people import People, SimulationConfig
from hydrarec.data.simulation.shop import Shop, open_shop
from hydrarec.data.store import Dataset

_USERS_AT_ONCE = 512
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulation:
    """E events of U users on I items.

    Attributes:
        items: (E,) int32; times: (E,) int64 seconds; offsets: (U+1,) int64, packed by user.
        new_session: (E,) bool, which events start a session.
        greater, ties: (E,) int64: items more probable than the one bought, and others exactly as probable, given the
            items before it (whether a session starts is not given). ``evaluate.metrics`` turns them into figures.
        shop: titles, categories and series.
    """

    items: np.ndarray
    times: np.ndarray
    offsets: np.ndarray
    new_session: np.ndarray
    greater: np.ndarray
    ties: np.ndarray
    shop: Shop

    def item_table(self) -> pa.Table:
        """``item`` (1, 2, ...), ``title``, ``category``: row i is item row i."""
        ids = np.arange(1, len(self.shop.titles) + 1)
        return pa.table({"item": ids, "title": self.shop.titles, "category": self.shop.categories})

    def events(self) -> pa.Table:
        """``user`` (1, 2, ...), ``item``, ``time``: one row an event, by user and time."""
        users = np.repeat(np.arange(1, len(self.offsets)), np.diff(self.offsets))
        return pa.table({"user": users, "item": self.items.astype(np.int64) + 1, "time": self.times})

    def dataset(self, protocol: Protocol | None = None) -> Dataset:
        """The data set in memory; its event positions are those of ``greater`` and ``ties``."""
        table = self.item_table()
        return Dataset.from_arrays(
            self.items,
            self.offsets,
            times=self.times,
            item_ids=table["item"],
            user_ids=np.arange(1, len(self.offsets)),
            item_columns={"title": table["title"], "category": table["category"]},
            protocol=protocol,
        )


def simulate(config: SimulationConfig | None = None, seed: int = 0) -> Simulation:
    """Let people shop. The same seed gives the same events."""
    config = config or SimulationConfig()
    shop = open_shop(config.shop, np.random.default_rng([seed, 0]))
    generator = np.random.default_rng([seed, 1])
    lengths = np.exp(generator.normal(np.log(config.events), config.spread, config.n_users))
    lengths = lengths.round().astype(np.int64).clip(config.shortest, config.longest)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = np.empty(offsets[-1], np.int32)
    new_session = np.empty(offsets[-1], bool)
    greater, ties = np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.int64)
    order = np.argsort(-lengths, kind="stable")
    for start in range(0, config.n_users, _USERS_AT_ONCE):
        users = order[start : start + _USERS_AT_ONCE]  # of about one length, longest first
        people = People(config, shop, len(users))
        for step in range(lengths[users[0]]):
            active = int((lengths[users] > step).sum())
            people.keep(active)
            places = offsets[users[:active]] + step
            begins = generator.random(active) < (1.0 if step == 0 else config.new_session)
            chosen = people.choose(begins, generator)
            greater[places], ties[places] = place_of(chosen, people.distribution())
            people.observe(chosen)
            items[places], new_session[places] = chosen, begins
    times = event_times(new_session, offsets, generator)
    return Simulation(
        items=items,
        times=times,
        offsets=offsets,
        new_session=new_session,
        greater=greater,
        ties=ties,
        shop=shop,
    )


def place_of(chosen: np.ndarray, chances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many items are more probable than the chosen one, and how many others as probable.

    Chances that differ by rounding only are equal.

    Args:
        chosen: (U,) item rows. chances: (U, I).
    """
    own = chances[np.arange(len(chosen)), chosen][:, None]
    greater = np.count_nonzero(chances > own * (1 + _ROUNDING), axis=1)
    return greater, np.count_nonzero(chances >= own * (1 - _ROUNDING), axis=1) - greater - 1
