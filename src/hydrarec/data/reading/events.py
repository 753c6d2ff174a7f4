"""The events of one source, checked and typed, as a DuckDB table."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import duckdb

from hydrarec.data.reading.columns import Columns, choose_columns
from hydrarec.data.reading.source import open_source, quote
from hydrarec.data.reading.times import Times, detect_times
from hydrarec.data.reading.values import Raw, domain_expression, id_expression, rating_expression
from hydrarec.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Events:
    """A table with ``user``, ``item``, ``time``, where the source has them ``rating`` and ``domain`` (a code), and
    ``row``, the place in the source, from 0.

    Attributes:
        table: its name (it is a view of a table).
        place: what messages call the source.
        count: number of events.
        columns: how the source calls the columns.
        types: SQL type of each column: ids are BIGINT or VARCHAR, times BIGINT or DOUBLE.
        times: what ``time`` counts; None where the source has no time, and ``time`` is 0.
        domains: names of the domains, by code.
    """

    table: str
    place: str
    count: int
    columns: Columns
    types: dict[str, str]
    times: Times | None
    domains: list[str]

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Self:
        """What ``dataclasses.asdict`` made a dictionary of."""
        times = facts["times"] and Times(**facts["times"])
        return cls(**{**facts, "columns": Columns(**facts["columns"]), "times": times})

    @property
    def names(self) -> dict[str, str]:
        """The source's own column name of every role that it has."""
        return {role: name for role, name in asdict(self.columns).items() if name is not None}


def read_events(
    connection: duckdb.DuckDBPyConnection,
    source: Any,
    roles: Mapping[str, Any],
    *,
    table: str,
    log: Callable[[str], None],
) -> Events:
    """Make ``table`` from ``source``.

    Args:
        roles: column names as ``choose_columns`` takes them.

    Raises:
        InputError: the source cannot be read, or a row of it is bad.
    """
    opened = open_source(connection, source, view=f"{table}_source")
    columns = choose_columns(opened.columns, **roles, place=opened.name)
    log(columns.describe())
    names = {role: name for role, name in asdict(columns).items() if name is not None}
    selected = ", ".join(f"{quote(name)} AS {quote(role)}" for role, name in names.items())
    connection.execute(f"DROP VIEW IF EXISTS {table}; DROP TABLE IF EXISTS {table}_typed; DROP TABLE IF EXISTS raw")
    opened.load(connection, f"CREATE TABLE raw AS SELECT {selected} FROM {opened.relation}")
    raw = Raw(connection=connection, place=opened.name, text=opened.text, names=names)
    (count,) = raw.one("count(*)")
    if not count:
        raise InputError(f"{opened.name} has a header but no events; give at least a few")

    typed = {role: id_expression(raw, role) for role in ("user", "item")}
    times, domains = None, list[str]()
    typed["time"] = "0::BIGINT"
    if columns.time is not None:
        times = detect_times(raw)
        typed["time"] = times.expression
        log(f"times: {times.unit}")
    if columns.rating is not None:
        typed["rating"] = rating_expression(raw)
    if columns.domain is not None:
        typed["domain"], domains = domain_expression(raw)
    _make(raw, typed, table)
    made = connection.table(table)
    return Events(
        table=table,
        place=opened.name,
        count=count,
        columns=columns,
        types={name: str(kind) for name, kind in zip(made.columns, made.types, strict=True)},
        times=times,
        domains=domains,
    )


def _make(raw: Raw, typed: dict[str, str], table: str) -> None:
    """Make the view ``table`` of events, of the raw ones themselves where they have the right types already."""
    plain = all(
        role in raw.names and expression.replace('"', "") == f"CAST({role} AS {raw.type_of(role)})"
        for role, expression in typed.items()
    )
    if plain:
        raw.connection.execute(f"ALTER TABLE raw RENAME TO {table}_typed")
    else:
        selected = ", ".join(f"{expression} AS {quote(role)}" for role, expression in typed.items())
        raw.connection.execute(f"CREATE TABLE {table}_typed AS SELECT {selected} FROM raw; DROP TABLE raw")
    raw.connection.execute(f"CREATE VIEW {table} AS SELECT *, rowid AS row FROM {table}_typed")
