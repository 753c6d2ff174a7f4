"""Simulated people: what they buy next, and with what chance.

- A staple comes with chance ``staples``: one of those bought before, rather a recent one, or now and then another.
- Otherwise it is one of two threads that each person follows, one in each aisle: the other one than last time with
  chance ``switch``.
- A thread goes on to the next item of its series. Each item lies on several series; the last *two* items of the
  thread tell which one it is. Where they do not (it has just begun, or the series has ended), it is any series of the
  last item.
- A thread begins anew with chance ``restart``, or ``restart_session`` at the start of a session: in a category that
  the person has liked lately, with an item by popularity. As likes fade, tastes drift.

The last item alone names neither the other thread nor the series, and co-occurrence names no direction.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from hydrarec.data.simulation.shop import Shop, ShopConfig


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """The people.

    Attributes:
        n_users: how many.
        events: median length of a history; spread: standard deviation of its logarithm; shortest, longest: bounds.
        new_session: chance that an event starts a session.
        staples, switch, restart, restart_session: the chances of the rule.
        fading: what a like is worth one event later. prior: likes that everyone brings, by popularity.
        staple_fading, staple_prior: the same for staples.
        shop: what is sold.
    """

    n_users: int = 3000
    events: float = 50.0
    spread: float = 0.8
    shortest: int = 5
    longest: int = 400
    new_session: float = 0.125
    staples: float = 0.1
    switch: float = 0.65
    restart: float = 0.03
    restart_session: float = 0.4
    fading: float = 0.97
    prior: float = 4.0
    staple_fading: float = 0.98
    staple_prior: float = 1.0
    shop: ShopConfig = field(default_factory=ShopConfig)


class People:
    """U people in the shop, and all that the future depends on; every array has a row a person.

    Attributes:
        last, before: (U, 2) the last item of the thread in each aisle, and the one before it; -1 for none.
        where: (U,) the aisle of the last item that was no staple; -1 at first.
        likes: (U, C) fading counts of categories. habits: (U, S) fading counts of staples.
    """

    def __init__(self, config: SimulationConfig, shop: Shop, n_users: int) -> None:
        self.config, self.shop = config, shop
        self.last = np.full((n_users, 2), -1)
        self.before = np.full((n_users, 2), -1)
        self.where = np.full(n_users, -1)
        self.likes = np.zeros((n_users, len(shop.aisle)))
        self.habits = np.zeros((n_users, len(shop.staples)))
        self._next_on_any, self._steps, self._next_on_series = _successors(shop)

    def keep(self, n_users: int) -> None:
        """Only the first ``n_users`` go on."""
        for name in ("last", "before", "where", "likes", "habits"):
            setattr(self, name, getattr(self, name)[:n_users])

    def observe(self, chosen: np.ndarray) -> None:
        """Each person buys an item; (U,) item rows."""
        category = self.shop.category[chosen]
        staple = category < 0
        rows, buys = np.flatnonzero(~staple), chosen[~staple]
        aisle = self.shop.aisle[category[rows]]
        self.before[rows, aisle] = self.last[rows, aisle]
        self.last[rows, aisle] = buys
        self.where[rows] = aisle
        self.likes[rows] *= self.config.fading
        self.likes[rows, category[rows]] += 1
        rows = np.flatnonzero(staple)
        self.habits[rows] *= self.config.staple_fading
        self.habits[rows, np.searchsorted(self.shop.staples, chosen[rows])] += 1

    def distribution(self) -> np.ndarray:
        """(U, I) chance of every next item, whether a session starts or not."""
        config, shop = self.config, self.shop
        restart = config.new_session * config.restart_session + (1 - config.new_session) * config.restart
        following, count = self._following()
        anew = np.where(count == 0, 1.0, restart)  # (U, 2)
        thread = (1 - config.staples) * self._aisles()
        chances = np.take((thread * anew)[:, shop.aisle] * self._tastes(), shop.category, axis=1)  # (U, I)
        chances *= shop.weight
        chances[:, shop.staples] = config.staples * self._staples()
        going_on = thread * (1 - anew) / np.maximum(count, 1)
        rows, aisles, places = np.nonzero(following >= 0)
        np.add.at(chances, (rows, following[rows, aisles, places]), going_on[rows, aisles])
        return chances

    def choose(self, new_session: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """(U,) item rows, drawn by the rule. ``new_session`` (U,) tells where a session starts."""
        config, n_users = self.config, len(self.where)
        every = np.arange(n_users)
        following, count = self._following()
        aisle = (generator.random(n_users) < self._aisles()[:, 1]).astype(np.int64)
        following, count = following[every, aisle], count[every, aisle]
        restart = np.where(new_session, config.restart_session, config.restart)
        anew = (generator.random(n_users) < restart) | (count == 0)
        tastes = self._tastes() * (self.shop.aisle[None, :] == aisle[:, None])
        chosen = following[every, (generator.random(n_users) * count).astype(np.int64)]
        chosen = np.where(anew, self._item_of(_draw(tastes, generator), generator), chosen)
        staple = generator.random(n_users) < config.staples
        chosen = np.where(staple, self.shop.staples[_draw(self._staples(), generator)], chosen)
        return chosen

    def _aisles(self) -> np.ndarray:
        """(U, 2) chance of each aisle for what is no staple."""
        same = np.where(self.where[:, None] == np.arange(2), 1 - self.config.switch, self.config.switch)
        return np.where(self.where[:, None] < 0, 0.5, same)

    def _tastes(self) -> np.ndarray:
        """(U, C) chance of each category within its aisle."""
        tastes = self.likes + self.config.prior * self.shop.category_weight
        totals = np.stack([tastes[:, self.shop.aisle == aisle].sum(1) for aisle in (0, 1)], axis=1)
        result: np.ndarray = tastes / totals[:, self.shop.aisle]
        return result

    def _staples(self) -> np.ndarray:
        """(U, S) chance of each staple among the staples."""
        habits = self.habits + self.config.staple_prior * self.shop.weight[self.shop.staples]
        result: np.ndarray = habits / habits.sum(1, keepdims=True)
        return result

    def _following(self) -> tuple[np.ndarray, np.ndarray]:
        """Items that may come next on each thread, (U, 2, K) item rows padded with -1, and how many (U, 2)."""
        following = self._next_on_any[self.last]  # row -1 is empty
        step = self.before * len(self.shop.category) + self.last
        place = np.searchsorted(self._steps, step).clip(max=len(self._steps) - 1)
        known = (self.before >= 0) & (self._steps[place] == step)
        following[known] = -1
        following[known, 0] = self._next_on_series[place[known]]
        return following, (following >= 0).sum(-1)

    def _item_of(self, category: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """(U,) an item of each category, by popularity."""
        order = np.argsort(self.shop.category, kind="stable")
        upto = np.cumsum(self.shop.weight[order])  # each category, the staples first, adds 1
        drawn = np.searchsorted(upto, category + 1 + generator.random(len(category)))
        return order[drawn]


def _draw(chances: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(U,) one column of each row, by weights (U, n)."""
    upto = chances.cumsum(1)
    column: np.ndarray = (upto <= generator.random(len(chances))[:, None] * upto[:, -1:]).sum(1)
    return column


def _successors(shop: Shop) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What follows an item on any series, and what follows two items in a row on their series.

    Returns:
        ((I + 1, K) item rows padded with -1, the last row empty; sorted keys ``first * I + second``; their next item)
    """
    n_items = len(shop.category)
    lists: list[list[int]] = [[] for _ in range(n_items + 1)]
    for series in shop.series.tolist():
        for item, following in pairwise(series):
            lists[item].append(following)
    table = np.full((n_items + 1, max(1, max(map(len, lists)))), -1)
    for row, following in enumerate(lists):
        table[row, : len(following)] = following
    steps = (shop.series[:, :-2] * n_items + shop.series[:, 1:-1]).ravel()
    order = np.argsort(steps)
    return table, steps[order], shop.series[:, 2:].ravel()[order]
