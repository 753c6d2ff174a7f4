"""Titles and further text of items, from a table of their own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from hydrarec.data.reading.columns import choose
from hydrarec.data.reading.engine import first_row, to_table
from hydrarec.data.reading.source import literal, open_source, quote
from hydrarec.errors import InputError

_TITLES = ("title", "name", "itemname", "producttitle", "productname", "movietitle", "description")


@dataclass(frozen=True, kw_only=True)
class ItemText:
    """A table about the items of one source of events.

    Attributes:
        source: the item id column and any others, read as ``open_source`` does.
        item: the item column of the events, which is the id column if ``source`` has it too; else it is guessed.
        kind: SQL type of the ids in the source of events.
        prefix: what stands before each of them in the data set.
        known: columns of the item table that it joins, if there is one: they are no title by another name.
    """

    source: Any
    item: str
    kind: str
    prefix: str
    known: tuple[str, ...] = ()


def join_text(
    connection: duckdb.DuckDBPyConnection,
    items: pa.Table,
    texts: Sequence[ItemText],
    *,
    strict: bool,
    log: Callable[[str], None],
) -> pa.Table:
    """Add the text columns of ``texts`` to the item table; null where an item has none.

    Items of ``texts`` without events are left out.

    Args:
        items: column ``item`` and further ones, I rows.
        strict: an item that is not in ``texts`` is an error.

    Raises:
        InputError: a source cannot be read, an id is missing or occurs twice.
    """
    named: dict[str, str] = {}  # SQL takes names in capitals for the same
    selects = []
    for number, text in enumerate(texts):
        table = f"item_text_{number}"
        columns = read_text(connection, text, table)
        for name in columns:
            named.setdefault(name.lower(), name)
        ids = f"{literal(text.prefix)} || item" if text.prefix else "item"
        selected = "".join(f", {quote(name)}" for name in columns)
        selects.append(f"SELECT {ids} AS item{selected} FROM {table}")
    connection.execute(f"CREATE OR REPLACE VIEW item_text AS {' UNION ALL BY NAME '.join(selects)}")
    connection.register("item_counts", items)
    selected = "".join(f", item_text.{quote(name)}" for name in named.values())
    joined = to_table(
        connection,
        f"SELECT item_counts.*{selected} FROM item_counts LEFT JOIN item_text USING (item) ORDER BY item_counts.item",
    )
    known, given = _counts(connection)
    if absent := items.num_rows - known:
        said = f"{absent:,} items have no row in the item file, such as {', '.join(_absent(connection))}"
        if strict:
            raise InputError(f"{said}; add them there, or leave out --strict")
        log(f"warning: {said}; they are known by their id alone")
    log(
        f"item text: {', '.join(named.values())}; {known:,} of {items.num_rows:,} items, "
        f"{given - known:,} rows without events"
    )
    return joined


def read_text(connection: duckdb.DuckDBPyConnection, text: ItemText, table: str) -> list[str]:
    """Make ``table`` of column ``item``, of text columns, whose names are returned, and of ``missing``, which is false.

    Raises:
        InputError: the source cannot be read, an id is missing or occurs twice.
    """
    opened = open_source(connection, text.source, view=f"{table}_source")
    id_name = text.item if text.item in opened.columns else choose("item", None, opened.columns, opened.name)
    others = [name for name in opened.columns if name != id_name]
    named = _names(others, text.known)
    selected = "".join(
        f", CAST({quote(old)} AS VARCHAR) AS {quote(new)}" for old, new in zip(others, named, strict=True)
    )
    opened.load(
        connection,
        f"CREATE OR REPLACE TABLE {table} AS SELECT try_cast({quote(id_name)} AS {text.kind}) AS item{selected}, "
        f"{quote(id_name)} IS NULL AS missing FROM {opened.relation}",
    )
    _refuse_bad_ids(connection, table, opened.name, id_name)
    return named


def _names(columns: list[str], known: Sequence[str]) -> list[str]:
    """The columns' names in the item table: the likeliest title that is not ``known`` becomes ``title``."""
    kept = {name.lower() for name in known} - {"title"}
    plain = {
        column.lower().replace("_", "").replace(" ", ""): column for column in columns if column.lower() not in kept
    }
    title = next((plain[name] for name in _TITLES if name in plain), None)
    named = ["title" if column == title else column for column in columns]
    return [f"{name}_" if name.lower() in ("item", "events", "domain", "missing") else name for name in named]


def _refuse_bad_ids(connection: duckdb.DuckDBPyConnection, table: str, place: str, id_name: str) -> None:
    row = first_row(connection, f"SELECT rowid FROM {table} WHERE missing ORDER BY rowid LIMIT 1")
    if row is not None:
        raise InputError(f"{place}, row {row[0] + 1} after the header: {id_name} is empty; filter such rows out")
    row = first_row(
        connection,
        f"SELECT item FROM {table} WHERE item IS NOT NULL GROUP BY item HAVING count(*) > 1 ORDER BY item LIMIT 1",
    )
    if row is not None:
        raise InputError(f"{place} has item {row[0]!r} more than once; keep one row an item")


def _counts(connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    row = first_row(
        connection, "SELECT count(*) FILTER (item IN (SELECT item FROM item_counts)), count(*) FROM item_text"
    )
    assert row is not None
    return int(row[0]), int(row[1])


def _absent(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Some ids of items that are in no source of text."""
    absent = "SELECT item FROM item_counts ANTI JOIN item_text USING (item) ORDER BY item LIMIT 3"
    return [str(item) for (item,) in connection.execute(absent).fetchall()]
