"""Simulated events in any number, as a log in order of time.

The shop of ``simulate`` knows the chance of every item before each event, which costs catalog times events. Here the
rule is so plain that an event costs the same whatever the number of users and items: each item is a draw from Zipf's
law, and what varies is where the uniform number behind it comes from. It is random, or a hash of the item before (so
that every item has a few successors), or a hash of the user (so that everybody has favourites). All three give the
same popularity, and the last two can be learned.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hydrarec.data.simulation.clock import DAY, START, busy_time, since_start
from hydrarec.errors import InputError
from hydrarec.files import whole_file
from hydrarec.progress import Progress

_ITEM, _USER, _FRESH = (np.uint64(kind << 56) for kind in (1, 2, 3))
_ROW_GROUP = 1 << 20
_SEEDS = 2**62  # products with it stay whole numbers of 64 bits


@dataclass(frozen=True, kw_only=True)
class TrafficConfig:
    """A shop's traffic.

    Attributes:
        n_events, n_users: how many there are in the end; every user has an event.
        n_items: items on the first day.
        new_items: how many join on every day after it.
        days: how long the log is.
        tail: an item's popularity is rank^-tail.
        session: mean events of a session.
        spread: standard deviation of the logarithm of users' activity.
        follow, favour: chances that an event follows from the item before, and that it is a favourite of the user.
        slots: how many successors an item has, and favourites a user, the first most likely by far.
        fresh: share of the successors that are new items, exchanged every ``renewal`` days.
    """

    n_events: int
    n_users: int
    n_items: int
    new_items: int = 0
    days: int = 30
    tail: float = 0.9
    session: float = 8.0
    spread: float = 1.2
    follow: float = 0.6
    favour: float = 0.15
    slots: int = 8
    fresh: float = 0.15
    renewal: int = 7

    def __post_init__(self) -> None:
        for name, least in (("n_events", 1), ("n_users", 1), ("n_items", 2), ("new_items", 0), ("days", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if self.n_users > self.n_events:
            raise InputError(f"{self.n_users:,} users need an event each; there are {self.n_events:,} events")


class Traffic:
    """The log, piece by piece. The same seed gives the same events.

    Attributes:
        ends: (P,) int64, how many events there are up to the end of each piece.

    Args:
        at_once: events of a piece, at most. What is held at a time is one piece and 16 bytes a user.
    """

    def __init__(self, config: TrafficConfig, seed: int = 0, at_once: int = 1 << 20) -> None:
        if not 0 <= seed < _SEEDS:
            raise InputError(f"the seed is {seed}; it must be from 0 to {_SEEDS - 1:,}")
        self.config, self.seed = config, seed
        pieces = min(config.n_events, max(config.days, -(-config.n_events // at_once)))
        self.ends = np.array([config.n_events * (piece + 1) // pieces for piece in range(pieces)])
        generator = np.random.default_rng([seed, 0])
        activity = np.exp(generator.normal(0.0, config.spread, config.n_users))
        self._activity = np.cumsum(activity, out=activity)  # up to and including each user
        self._last = np.full(config.n_users, -1)  # the item before; -1 for none
        self._salt = _mix(np.array([seed], np.uint64), _FRESH)[0]
        self._stride = next(n for n in range(round(0.618 * config.n_items), 0, -1) if gcd(n, config.n_items) == 1)

    def __iter__(self) -> Iterator[pa.Table]:
        """Tables of ``user``, ``item`` (both from 1) and ``time`` (seconds since 1970), each in order of time."""
        self._last.fill(-1)
        for piece in range(len(self.ends)):
            yield self._piece(piece, np.random.default_rng([self.seed, 1, piece]))

    def _piece(self, piece: int, generator: np.random.Generator) -> pa.Table:
        users, lengths = self._sessions(piece, generator)
        starts = busy_time((piece + generator.random(len(users))) / len(self.ends), self.config.days)
        begins = np.cumsum(lengths) - lengths
        day = (starts // DAY).astype(np.int64)
        items = self._walk(users, lengths, begins, day, generator)
        new_session = np.zeros(len(items), bool)
        new_session[begins] = True
        times = np.repeat(starts, lengths) + since_start(new_session, generator)
        order = np.argsort(times, kind="stable")
        columns = {"user": np.repeat(users + 1, lengths), "item": items + 1, "time": START + times.astype(np.int64)}
        return pa.table({name: column[order] for name, column in columns.items()})

    def _sessions(self, piece: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Who comes, ascending, and how many events each has. Users join evenly over the log."""
        config, first, end = self.config, int(self.ends[piece - 1]) if piece else 0, int(self.ends[piece])
        before, joined = (-(-config.n_users * at // config.n_events) for at in (first, end))
        wanted = end - first - (joined - before)
        visits = round(2 * wanted / config.session) + 8
        draws = np.sort(generator.random(visits)) * self._activity[joined - 1]
        users = np.searchsorted(self._activity[:joined], draws, side="right").clip(max=joined - 1)
        lengths = generator.geometric(1 / config.session, visits)
        order = generator.permutation(visits)  # whose visits count is not a matter of who joined first
        counted = np.minimum(np.cumsum(lengths[order]), wanted)
        lengths[order] = np.diff(counted, prepend=0)
        missing = wanted - int(counted[-1])
        new = np.arange(before, joined)
        users = np.concatenate([users, new, users[:1]])
        lengths = np.concatenate([lengths, np.ones(len(new), np.int64), [missing]])
        who, place = np.unique(users, return_inverse=True)
        events = np.bincount(place, lengths).astype(np.int64)
        return who[events > 0], events[events > 0]

    def _walk(
        self,
        users: np.ndarray,
        lengths: np.ndarray,
        begins: np.ndarray,
        day: np.ndarray,
        generator: np.random.Generator,
    ) -> np.ndarray:
        """(E,) the items of all sessions, session by session; one step of every session at a time, longest first."""
        order = np.argsort(-lengths, kind="stable")
        users, lengths, begins, day = users[order], lengths[order], begins[order], day[order]
        items, last = np.empty(int(lengths.sum()), np.int64), self._last[users]
        for step in range(int(lengths[0])):
            n = int(np.searchsorted(-lengths, -step))  # those longer than ``step``
            last[:n] = items[begins[:n] + step] = self._next(last[:n], users[:n], day[:n], generator)
        self._last[users] = last
        return items

    def _next(self, last: np.ndarray, users: np.ndarray, day: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """(n,) the next item of each user."""
        config = self.config
        how, uniform = generator.random((2, len(users)))
        slot = np.minimum(generator.geometric(0.5, len(users)), config.slots).astype(np.uint64)
        follows = (how < config.follow) & (last >= 0)
        favours = ~follows & (how < config.follow + config.favour)
        key = np.where(follows, _ITEM | last.astype(np.uint64), _USER | users.astype(np.uint64))
        key = _mix(key * np.uint64(config.slots + 1) + slot, self._salt)
        uniform = np.where(follows | favours, _unit(key), uniform)
        items = (self._zipf(uniform) * self._stride + self.seed) % config.n_items
        return self._renew(items, key, follows, day) if config.new_items else items

    def _zipf(self, uniform: np.ndarray) -> np.ndarray:
        """(n,) ranks from 0 by the inverse of the distribution function, as if ranks were continuous."""
        power = 1 - self.config.tail
        highest = (self.config.n_items + 1.0) ** power - 1
        ranks: np.ndarray = (highest * uniform + 1) ** (1 / power)
        return ranks.astype(np.int64).clip(1, self.config.n_items) - 1

    def _renew(self, items: np.ndarray, key: np.ndarray, follows: np.ndarray, day: np.ndarray) -> np.ndarray:
        """Some successors are items of the last day at which they were exchanged, each on days of its own."""
        config = self.config
        phase = (key % np.uint64(config.renewal)).astype(np.int64)
        since = day - (day - phase) % config.renewal
        again = _mix(key ^ _FRESH, since.astype(np.uint64))
        fresh = follows & (since > 0) & (_unit(_mix(key, _FRESH)) < config.fresh)
        number = (since - 1) * config.new_items + (again % np.uint64(config.new_items)).astype(np.int64)
        result: np.ndarray = np.where(fresh, config.n_items + number, items)
        return result


def write_traffic(config: TrafficConfig, path: Path, *, seed: int = 0, progress: Progress) -> dict[str, int]:
    """Write the log as Parquet, whole or not at all; how many events, users and different items it holds.

    Raises:
        InputError: ``path`` is no name of a Parquet file. HydrarecError: it cannot be written.
    """
    if path.suffix != ".parquet":
        raise InputError(f"{path} should end in .parquet, which is what is written")
    seen = np.zeros(config.n_items + config.new_items * config.days, bool)
    schema = pa.schema([(name, pa.int64()) for name in ("user", "item", "time")])
    with (
        progress.task("simulate", total=config.n_events) as task,
        whole_file(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", compression_level=1) as writer,
    ):
        waiting: list[pa.Table] = []
        for table in Traffic(config, seed):
            seen[table["item"].to_numpy() - 1] = True
            waiting.append(table)
            if sum(map(len, waiting)) >= _ROW_GROUP:
                writer.write_table(pa.concat_tables(waiting), _ROW_GROUP)
                waiting.clear()
            task.advance(len(table))
        if waiting:
            writer.write_table(pa.concat_tables(waiting), _ROW_GROUP)
    return {"events": config.n_events, "users": config.n_users, "items": int(seen.sum())}


def _mix(keys: np.ndarray, salt: np.uint64 | np.ndarray) -> np.ndarray:
    """(n,) uint64 that look random: the finaliser of MurmurHash3, which is a bijection."""
    with np.errstate(over="ignore"):
        keys = keys ^ salt
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            keys = (keys ^ (keys >> np.uint64(33))) * np.uint64(factor)
        return keys ^ (keys >> np.uint64(33))


def _unit(keys: np.ndarray) -> np.ndarray:
    """(n,) numbers in [0, 1)."""
    result: np.ndarray = (keys >> np.uint64(11)) * 2.0**-53
    return result
