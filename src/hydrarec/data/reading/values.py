"""Ids and times of the raw events: what they are, and the first row where they are not.

The raw events are a DuckDB table ``raw`` with columns ``user``, ``item``, ``time`` ... whose ``rowid`` is the order
of the source.
"""

from dataclasses import dataclass
from typing import Any

import duckdb

from hydrarec.data.reading.engine import first_row
from hydrarec.data.reading.source import literal, quote
from hydrarec.errors import InputError

_INTEGERS = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "HUGEINT",
)


@dataclass(frozen=True, kw_only=True)
class Raw:
    """The raw events and how messages name their place.

    Attributes:
        connection: holds table ``raw``.
        place: the source's name.
        text: whether every column is text that may hold numbers.
        names: role -> the source's own column name.
    """

    connection: duckdb.DuckDBPyConnection
    place: str
    text: bool
    names: dict[str, str]

    def one(self, select: str) -> tuple[Any, ...]:
        """The single row of ``SELECT select FROM raw``."""
        row = first_row(self.connection, f"SELECT {select} FROM raw")
        assert row is not None
        return row

    def type_of(self, role: str) -> str:
        row = first_row(
            self.connection,
            "SELECT data_type FROM duckdb_columns() WHERE table_name = 'raw' AND column_name = ?",
            [role],
        )
        assert row is not None
        return str(row[0])

    def refuse(self, role: str, bad: str, problem: str, remedy: str) -> None:
        """Raise for the first row where the SQL condition ``bad`` holds, if there is one."""
        row = first_row(self.connection, f"SELECT rowid, {quote(role)} FROM raw WHERE {bad} ORDER BY rowid LIMIT 1")
        if row is not None:
            value = "empty" if row[1] is None else repr(row[1] if isinstance(row[1], (int, float)) else str(row[1]))
            raise InputError(
                f"{self.place}, row {row[0] + 1} after the header, column {self.names[role]}: "
                f"{value} {problem}; {remedy}"
            )


def id_expression(raw: Raw, role: str) -> str:
    """SQL for the ids of ``role``, BIGINT where every one of them is a whole number and VARCHAR otherwise.

    Text counts as a whole number only if it is written as one is ("007" is not), so that no two ids become one.

    Raises:
        InputError: an id is missing, negative, or a number with a fraction.
    """
    column, kind = quote(role), raw.type_of(role)
    missing = f"{column} IS NULL" + (f" OR {column} = ''" if kind == "VARCHAR" else "")
    raw.refuse(role, missing, "is no id", "filter such rows out")
    if kind in ("FLOAT", "DOUBLE") or kind.startswith("DECIMAL"):
        whole = f"coalesce(try_cast({column} AS BIGINT) = {column}, false)"
        raw.refuse(role, f"NOT {whole}", "is no id", "ids must be whole numbers or text")
        integer = True
    elif kind in _INTEGERS:
        integer = bool(raw.one(f"coalesce(max({column}) <= 9223372036854775807, true)")[0])
    else:
        integer = raw.text and bool(raw.one(f"coalesce(bool_and({_written_whole(column)}), false)")[0])
    if not integer:
        return f"CAST({column} AS VARCHAR)"
    expression = f"CAST({column} AS BIGINT)"
    raw.refuse(
        role,
        f"{expression} < 0",
        "is negative, which usually stands for a missing id",
        "filter such rows out",
    )
    return expression


def _written_whole(column: str) -> str:
    return f"coalesce(CAST(try_cast({column} AS BIGINT) AS VARCHAR) = {column}, false)"


def rating_expression(raw: Raw) -> str:
    """SQL for the ratings, FLOAT; a missing rating is allowed (NaN).

    Raises:
        InputError: a rating is not a number.
    """
    bad = "rating IS NOT NULL AND try_cast(rating AS FLOAT) IS NULL"
    raw.refuse("rating", bad, "is no number", "correct it, or leave the column out")
    return "coalesce(CAST(rating AS FLOAT), 'nan'::FLOAT)"


def domain_expression(raw: Raw) -> tuple[str, list[str]]:
    """SQL for the domain codes, SMALLINT, and the domains in order of code (ascending).

    Raises:
        InputError: a domain is missing, or there are too many.
    """
    raw.refuse("domain", "domain IS NULL OR CAST(domain AS VARCHAR) = ''", "is no domain", "fill it in")
    rows = raw.connection.execute("SELECT DISTINCT CAST(domain AS VARCHAR) d FROM raw ORDER BY d LIMIT 1001").fetchall()
    domains = [str(row[0]) for row in rows]
    if len(domains) > 1000:
        raise InputError(f"{raw.place}, column {raw.names['domain']} has over 1000 domains; is it the right column?")
    listed = ", ".join(literal(domain) for domain in domains)
    return f"CAST(list_position([{listed}], CAST(domain AS VARCHAR)) - 1 AS SMALLINT)", domains
