"""Titles and further text of items, from a table of their own."""

from collections.abc import Callable
from typing import Any

import duckdb
import pyarrow as pa

from hydrarec.data.columns import choose
from hydrarec.data.engine import first_row, to_table
from hydrarec.data.source import open_source, quote
from hydrarec.errors import InputError

_TITLES = ("title", "name", "itemname", "producttitle", "productname", "movietitle", "description")


def join_text(
    connection: duckdb.DuckDBPyConnection,
    items: pa.Table,
    source: Any,
    *,
    item: str,
    log: Callable[[str], None],
) -> pa.Table:
    """Add the text columns of ``source`` to the item table; null where an item has none.

    Items of ``source`` without events are left out.

    Args:
        items: columns ``item`` and ``events``, I rows.
        source: a table with the item id column and any others, read as ``open_source`` does.
        item: the item column of the events, which is the id column if ``source`` has it too; else it is guessed.

    Raises:
        InputError: the source cannot be read, an id is missing or occurs twice.
    """
    opened = open_source(connection, source, view="item_source")
    id_name = item if item in opened.columns else choose("item", None, opened.columns, opened.name)
    others = [name for name in opened.columns if name != id_name]
    named = _names(others)
    kind = "BIGINT" if pa.types.is_integer(items.schema.field("item").type) else "VARCHAR"
    texts = "".join(f", CAST({quote(old)} AS VARCHAR) AS {quote(new)}" for old, new in zip(others, named, strict=True))
    opened.load(
        connection,
        f"CREATE OR REPLACE TABLE item_text AS SELECT try_cast({quote(id_name)} AS {kind}) AS item{texts}, "
        f"{quote(id_name)} IS NULL AS missing FROM {opened.relation}",
    )
    _refuse_bad_ids(connection, opened.name, id_name)
    connection.register("item_counts", items)
    columns = "".join(f", item_text.{quote(name)}" for name in named)
    joined = to_table(
        connection,
        f"SELECT item_counts.item, item_counts.events{columns} FROM item_counts LEFT JOIN item_text USING (item) "
        "ORDER BY item_counts.item",
    )
    known, given = _counts(connection)
    log(f"item text: {', '.join(named)}; {known:,} of {items.num_rows:,} items, {given - known:,} rows without events")
    return joined


def _names(columns: list[str]) -> list[str]:
    """The columns' names in the item table: the likeliest title becomes ``title``."""
    plain = {column.lower().replace("_", "").replace(" ", ""): column for column in columns}
    title = next((plain[name] for name in _TITLES if name in plain), None)
    named = ["title" if column == title else column for column in columns]
    return [f"{name}_" if name.lower() in ("item", "events", "missing") else name for name in named]


def _refuse_bad_ids(connection: duckdb.DuckDBPyConnection, place: str, id_name: str) -> None:
    row = first_row(connection, "SELECT rowid FROM item_text WHERE missing ORDER BY rowid LIMIT 1")
    if row is not None:
        raise InputError(f"{place}, row {row[0] + 1} after the header: {id_name} is empty; filter such rows out")
    row = first_row(
        connection,
        "SELECT item FROM item_text WHERE item IS NOT NULL GROUP BY item HAVING count(*) > 1 ORDER BY item LIMIT 1",
    )
    if row is not None:
        raise InputError(f"{place} has item {row[0]!r} more than once; keep one row an item")


def _counts(connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    row = first_row(
        connection, "SELECT count(*) FILTER (item IN (SELECT item FROM item_counts)), count(*) FROM item_text"
    )
    assert row is not None
    return int(row[0]), int(row[1])
