"""Days that came after a data set was prepared: each a folder of its own, joined when the data set is opened.

``DATASET/days/00001`` is a data set of the day's events alone. Nothing that lies there is written again: rows of items
and users keep their places, new ones follow them.
"""

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hydrarec.data.describe import describe_events
from hydrarec.data.domains import DOMAIN
from hydrarec.data.neighbours import same_user
from hydrarec.errors import InputError

if TYPE_CHECKING:
    from hydrarec.data.store import Dataset

FOLDER = "days"
D = TypeVar("D", bound="Dataset")


def added_before(base: "Dataset", day: "Dataset") -> int | None:
    """The number of the day that had the very events of ``day``, 0 for what was there at first; None: there is none."""
    known = (*base.lineage, base.fingerprint)
    if known[0] == day.fingerprint:
        return 0
    after = (number for number in range(1, len(known)) if _joined(known[number - 1], day.fingerprint) == known[number])
    return next(after, None)


def _joined(base: str, day: str) -> str:
    """The fingerprint of what has the one and then the other."""
    return hashlib.sha256(f"{base}\n{day}".encode()).hexdigest()


def join(base: D, day: "Dataset") -> D:
    """``base`` with the events of ``day`` behind those of their users, in memory; see also ``described``.

    A day may bring events that happened before a user's last one: that history is in order of time all the same.

    Raises:
        InputError: one has times, ratings or domains and the other has none; or ids are numbers here and text there.
    """
    place = day.path or "the day"
    for name, here, there in (
        ("times", base.has_times, day.has_times),
        ("domains", bool(base.domains), bool(day.domains)),
        *((name, True, name in day.columns) for name in base.columns),
    ):
        if here != there:
            raise InputError(
                f"the data set has {'' if here else 'no '}{name}, and {place} {'has none' if here else 'has'}; "
                "give it in the same columns, and files of domains under the same names"
            )
    item_table, items = _extend(base.item_table, day.item_table, "item")
    user_table, users = _extend(base.user_table, day.user_table, "user")
    before, more = np.zeros(user_table.num_rows, np.int64), np.zeros(user_table.num_rows, np.int64)
    before[: base.n_users], more[users] = np.diff(base.offsets), np.diff(day.offsets)
    offsets = np.concatenate([[0], np.cumsum(before + more)]).astype(np.int64)
    old = np.arange(base.n_events) + np.repeat(offsets[: base.n_users] - base.offsets[:-1], before[: base.n_users])
    new = np.arange(day.n_events) + np.repeat((offsets[:-1] + before)[users] - day.offsets[:-1], more[users])

    def together(mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        both = np.empty(len(mine) + len(theirs), mine.dtype)
        both[old], both[new] = mine, theirs
        return both

    times = together(base.times, day.times)
    rows = together(base.items, items[day.items].astype(np.int32))
    columns = {name: together(values, day.columns[name]) for name, values in base.columns.items()}
    if base.has_times and np.any((np.diff(times) < 0) & same_user(offsets)):
        order = np.lexsort((times, np.repeat(np.arange(len(before)), before + more)))
        rows, times = rows[order], times[order]
        columns = {name: values[order] for name, values in columns.items()}
    facts = {"days": len(base.lineage) + 1}
    if "source_events" in base.statistics:
        facts["source_events"] = base.statistics["source_events"] + day.n_events  # a day is taken whole
    return replace(
        base,
        items=rows,
        times=times,
        offsets=offsets,
        columns=columns,
        item_table=item_table,
        user_table=user_table,
        fingerprint=_joined(base.fingerprint, day.fingerprint),
        lineage=(*base.lineage, base.fingerprint),
        statistics={**base.statistics, **facts},
    )


def described(joined: D) -> D:
    """With the statistics of all events; ``join`` leaves those from before, since days may follow."""
    times = joined.times if joined.has_times else None
    facts = describe_events(times, joined.offsets, joined.item_table.num_rows)
    return replace(joined, statistics={**joined.statistics, **facts})


def _with_text(known: pa.Table, more: pa.Table, rows: np.ndarray) -> pa.Table:
    """``known`` with the text that ``more``, whose items are its ``rows``, brings of items without."""
    place = np.full(known.num_rows, -1)
    place[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
    said = more.take(pa.array(place, mask=place < 0))
    for number, name in enumerate(known.column_names):
        if name in more.column_names and pa.types.is_string(known[name].type) and known[name].null_count:
            known = known.set_column(number, name, pc.coalesce(known[name], said[name].cast(pa.string())))
    return known


def _refuse_another_domain(known: pa.Table, more: pa.Table, rows: np.ndarray) -> None:
    """Raise an ``InputError`` where an item (``rows`` are those of ``more``) has moved to another domain."""
    if DOMAIN not in known.column_names or DOMAIN not in more.column_names:
        return
    there = pa.array(rows >= 0)
    before = known[DOMAIN].take(pa.array(rows[rows >= 0])).cast(pa.string())
    now = more[DOMAIN].filter(there).cast(pa.string())
    if (other := pc.index(pc.not_equal(before, now), True).as_py()) >= 0:
        item, old, new = (each[other].as_py() for each in (more["item"].filter(there), before, now))
        raise InputError(
            f"item {item!r} is of domain {old!r} in the data set and of {new!r} in what is appended; "
            "an item belongs to one domain"
        )


def _extend(known: pa.Table, more: pa.Table, name: str) -> tuple[pa.Table, np.ndarray]:
    """The table with the rows of ``more`` that are new behind its own, and the row there of each row of ``more``."""
    ids, asked = known[name].combine_chunks(), more[name].combine_chunks()
    if ids.type != asked.type and pa.types.is_integer(ids.type):
        other = next((each for each in asked.to_pylist() if not each.isdecimal()), asked[0].as_py())
        raise InputError(
            f"{name} ids are whole numbers in the data set and text in what is appended, such as {other!r}; give them "
            "as whole numbers, or prepare all events again"
        )
    if ids.type != asked.type:  # a day whose ids all look like numbers; only what is written as one becomes one
        asked = asked.cast(ids.type)
        more = more.set_column(more.column_names.index(name), name, asked)
    rows = np.asarray(pc.fill_null(pc.index_in(asked, ids), -1), np.int64)
    _refuse_another_domain(known, more, rows)
    events = known["events"].to_numpy().copy()
    events[rows[rows >= 0]] += more["events"].to_numpy()[rows >= 0]
    grown = _with_text(known.set_column(known.column_names.index("events"), "events", pa.array(events)), more, rows)
    fresh = more.filter(pa.array(rows < 0)).select([each for each in more.column_names if each in known.column_names])
    rows[rows < 0] = known.num_rows + np.arange(fresh.num_rows)
    return pa.concat_tables([grown, fresh], promote_options="default"), rows
