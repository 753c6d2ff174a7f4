"""The domain of each item, from its events."""

from collections.abc import Callable, Sequence

import duckdb
import pyarrow as pa

from hydrarec.data.domains import DOMAIN
from hydrarec.data.reading.engine import first_row, to_table
from hydrarec.errors import InputError


def join_domains(
    connection: duckdb.DuckDBPyConnection,
    items: pa.Table,
    names: Sequence[str],
    *,
    place: str,
    log: Callable[[str], None],
) -> pa.Table:
    """Add column ``domain``, text, to the item table.

    Args:
        connection: holds ``events`` with a column ``domain`` of codes, ``users`` and ``items``.
        items: columns ``item`` (ascending) and ``events``, I rows.
        names: of the domains, by code.
        place: what messages call the source.
        log: told how many users have events in several domains.

    Raises:
        InputError: an item has events in two domains.
    """
    connection.execute(
        "CREATE OR REPLACE TABLE item_domains AS "
        "SELECT item AS id, min(domain) AS low, max(domain) AS high FROM events GROUP BY 1"
    )
    row = first_row(connection, "SELECT id, low, high FROM item_domains WHERE low <> high ORDER BY id LIMIT 1")
    if row is not None:
        item, low, high = row[0], names[row[1]], names[row[2]]
        raise InputError(
            f"{place}: item {item!r} has events in two domains, {low!r} and {high!r}, and can belong to one only; "
            f"if these are two items, give them ids of their own, such as '{low}:{item}', or else leave the column out"
        )
    codes = to_table(connection, "SELECT low FROM items JOIN item_domains USING (id) ORDER BY id")["low"]
    log(f"{_count_shared(connection):,} users with events in several domains")
    return items.append_column(DOMAIN, pa.array(names, pa.string()).take(codes.combine_chunks()))


def _count_shared(connection: duckdb.DuckDBPyConnection) -> int:
    """Users left with events of several domains: none, or everybody, tells of ids that were not meant to be joined."""
    row = first_row(
        connection,
        'SELECT count(*) FROM (SELECT "user" FROM events WHERE item IN (SELECT id FROM items) '
        'AND "user" IN (SELECT id FROM users) GROUP BY 1 HAVING min(domain) <> max(domain))',
    )
    assert row is not None
    return int(row[0])
