"""What of a long work is done, noted in its own database: a process that goes on with it does nothing twice."""

import json
from collections.abc import Callable
from typing import TypeVar

import duckdb

from hydrarec.data.reading.engine import first_row

T = TypeVar("T")


class Stages:
    """Facts by name, as durable as the tables that they are about. Whoever finds a fact finds these too."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        connection.execute("CREATE TABLE IF NOT EXISTS stages (name VARCHAR PRIMARY KEY, facts VARCHAR)")

    @property
    def found(self) -> bool:
        """Whether anything is done."""
        return first_row(self._connection, "SELECT 1 FROM stages LIMIT 1") is not None

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What ``make`` returns, or returned to the process that came so far; plain values. JSON has no tuples."""
        row = first_row(self._connection, "SELECT facts FROM stages WHERE name = $1", [name])
        if row is None:
            facts = make()
            self.note(name, facts)
            return facts
        found: T = json.loads(row[0])
        return found

    def note(self, name: str, facts: object) -> None:
        """``facts``, in place of those that were there."""
        self._connection.execute("INSERT OR REPLACE INTO stages VALUES ($1, $2)", [name, json.dumps(facts)])
