"""The events of one or of several sources as one view, nothing copied."""

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from hydrarec.data.reading.engine import first_row
from hydrarec.data.reading.events import Events
from hydrarec.data.reading.several import ALONE
from hydrarec.data.reading.source import literal, quote
from hydrarec.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Merged:
    """The view ``events``: ``user``, ``item``, ``time``, where there are ``rating`` and ``domain`` (a code), and
    ``row``, the place among all events, from 0.

    Attributes:
        per_second: how many of ``time`` make a second.
        has_times: whether ``time`` means anything.
        has_ratings: whether there is a column ``rating``.
        domains: names of the domains, by code; empty without domains.
    """

    per_second: int
    has_times: bool
    has_ratings: bool
    domains: list[str]


def prefix(name: str) -> str:
    """What stands before the item ids of the source called ``name``, so that ids of different shops never clash."""
    return "" if name == ALONE else f"{name}:"


def merge(connection: duckdb.DuckDBPyConnection, sources: Mapping[str, Events]) -> Merged:
    """Make the view ``events``. Each source but one called ``ALONE`` is a domain; users are joined by their ids.

    Raises:
        InputError: a time cannot be told in the finest unit of all sources.
    """
    if ALONE in sources:
        alone = sources[ALONE]
        connection.execute(f"CREATE OR REPLACE VIEW events AS SELECT * FROM {alone.table}")
        return Merged(
            per_second=1 if alone.times is None else alone.times.per_second,
            has_times=alone.times is not None,
            has_ratings="rating" in alone.types,
            domains=alone.domains,
        )
    whole = all(each.types["user"] == "BIGINT" for each in sources.values())
    has_ratings = any("rating" in each.types for each in sources.values())
    finest = max(_per_second(each) for each in sources.values())
    selects, before = [], 0
    for code, (name, each) in enumerate(sources.items()):
        columns = {
            "user": quote("user") if whole else f"CAST({quote('user')} AS VARCHAR)",
            "item": f"{literal(prefix(name))} || item",
            "time": _time(connection, each, finest),
            **({"rating": "rating" if "rating" in each.types else "'nan'::FLOAT"} if has_ratings else {}),
            "domain": f"{code}::SMALLINT",
            "row": f"row + {before}",
        }
        selected = ", ".join(f"{expression} AS {quote(column)}" for column, expression in columns.items())
        selects.append(f"SELECT {selected} FROM {each.table}")
        before += each.count
    connection.execute(f"CREATE OR REPLACE VIEW events AS {' UNION ALL '.join(selects)}")
    return Merged(per_second=finest, has_times=True, has_ratings=has_ratings, domains=list(sources))


def _per_second(source: Events) -> int:
    """How finely a source tells the time. Of decimal seconds near the present, a float resolves a microsecond."""
    assert source.times is not None
    return max(source.times.per_second, 10**6 if source.types["time"] == "DOUBLE" else 1)


def _time(connection: duckdb.DuckDBPyConnection, source: Events, finest: int) -> str:
    """SQL of the times, BIGINT, ``finest`` of which make a second."""
    assert source.times is not None
    factor = finest // source.times.per_second
    row = first_row(
        connection,
        f"SELECT row, time FROM {source.table} WHERE abs(CAST(time AS DOUBLE)) * {factor} >= {2**63} "
        "ORDER BY row LIMIT 1",
    )
    if row is not None:
        raise InputError(
            f"{source.place}, row {row[0] + 1} after the header, column {source.columns.time}: {row[1]} "
            f"({source.times.unit}) lies too far from 1970 beside the finer times of another source; "
            "filter such rows out, or give all times in the same unit"
        )
    return f"CAST(floor(time * {factor}) AS BIGINT)" if source.types["time"] == "DOUBLE" else f"time * {factor}"
