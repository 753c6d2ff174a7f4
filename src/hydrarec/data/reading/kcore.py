"""The k-core: users and items that keep enough events once all others are gone."""

from collections.abc import Callable

import duckdb

from hydrarec.data.reading.engine import first_row


def count_core(
    connection: duckdb.DuckDBPyConnection, *, min_user: int, min_item: int, log: Callable[[str], None]
) -> tuple[int, int]:
    """Make tables ``users`` and ``items`` (``id``, ``events``) of the core of table ``events``.

    Users with fewer than ``min_user`` and items with fewer than ``min_item`` events are dropped in turn until none is
    left to drop. The result does not depend on the order, because both sets only ever shrink.

    Returns:
        (users, items) that were dropped.
    """
    _count(connection, "users", '"user"', "", 1)
    _count(connection, "items", "item", "", 1)
    sizes = first = _sizes(connection)
    done, rounds = min_user <= 1 and min_item <= 1, 0
    while not done:
        _count(connection, "users", '"user"', "WHERE item IN (SELECT id FROM items)", min_user)
        _count(connection, "items", "item", 'WHERE "user" IN (SELECT id FROM users)', min_item)
        rounds += 1
        before, sizes = sizes, _sizes(connection)
        # The users' counts are those of the last items but one, so the core is reached only when nothing changed.
        done = sizes == before
    if rounds:
        log(f"k-core: {rounds} rounds, {sizes[0]:,} of {first[0]:,} users and {sizes[1]:,} of {first[1]:,} items left")
    return first[0] - sizes[0], first[1] - sizes[1]


def _count(connection: duckdb.DuckDBPyConnection, table: str, column: str, where: str, least: int) -> None:
    connection.execute(
        f"CREATE OR REPLACE TABLE {table} AS SELECT {column} AS id, count(*) AS events FROM events {where} "
        f"GROUP BY 1 HAVING count(*) >= {least}"
    )


def _sizes(connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    row = first_row(connection, "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM items)")
    assert row is not None
    return int(row[0]), int(row[1])
