"""The store in one SQLite database: a folder on this machine, open to several processes.

Why SQLite, and what durability costs: docs/serving.md.
"""

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from hydrarec.errors import InputError
from hydrarec.serve.stores.contract import (
    Account,
    Change,
    Event,
    History,
    State,
    Store,
    StoredItem,
    StoreError,
    Transaction,
    in_order,
)
from hydrarec.serve.stores.database import connect, connect_read_only, is_busy, reason_of
from hydrarec.serve.stores.flush import Flusher
from hydrarec.serve.stores.write_turn import WriteTurn

FILE = "users.sqlite"
Durability = Literal["event", "batch"]
_PATIENCE = 0.2  # seconds that an answer may wait to keep a state, which can be made again


class DiskStore(Store):
    """Args:
    folder: made if need be. One that cannot be written is opened for reading, and ``read_only`` says why.
    durability: what a loss of power may cost; a killed process loses nothing either way. ``event``: nothing, since
        ``append`` returns when the disk has the events (2 to 10 ms; events of one call share it). ``batch``: what was
        appended in the last few milliseconds, since the disk is told that often, for all calls in between at once.

    Raises:
        InputError: there is a file that is no such store, or one of a newer version.
    """

    def __init__(self, folder: Path, *, durability: Durability = "event") -> None:
        self.path = Path(folder) / FILE
        self._writing, self._reading = Lock(), Lock()
        self._flusher: Flusher | None = None
        self._turn = WriteTurn(Path(f"{self.path}-turn"))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._turn:
                self._writer = connect(self.path, synchronous="FULL" if durability == "event" else "NORMAL")
                self._reader = connect(self.path)
        except (sqlite3.OperationalError, OSError) as error:
            if not self.path.exists():
                raise InputError(
                    f"the store {self.path} cannot be made ({reason_of(error)}); name another folder"
                ) from error
            if is_busy(error):
                raise StoreError(f"{self.path} is busy: another process writes for long; try again") from error
            self.read_only = f"{self.path} cannot be written ({reason_of(error)})"
            self._writer = self._reader = connect_read_only(self.path)
        except sqlite3.DatabaseError as error:
            raise InputError(f"{self.path} is no store of users ({error}); name another folder") from error
        if durability == "batch" and not self.read_only:
            self._flusher = Flusher(Path(f"{self.path}-wal"))

    @contextmanager
    def transaction(self, events: Sequence[Event]) -> Iterator[Transaction]:
        with self._write("write") as connection:
            yield _Writes(connection)

    def accounts(self, users: Sequence[str], version: str | None = None) -> list[Account]:
        with self._read() as connection:
            return [_account(connection, user, version) for user in users]

    def history(self, user: str) -> History:
        with self._read() as connection:
            row = connection.execute("SELECT number FROM users WHERE name = ?", (user,)).fetchone() or (0,)
            rows = connection.execute("SELECT item, time FROM events WHERE user = ? ORDER BY place", row).fetchall()
        return History(items=[item for item, _ in rows], times=in_order(time for _, time in rows), owner=row[0])

    def latest(self, user: str, most: int) -> list[tuple[str, int]]:
        query = """SELECT item, time FROM events
            WHERE user = (SELECT number FROM users WHERE name = ?) ORDER BY place DESC LIMIT ?"""
        with self._read() as connection:
            return connection.execute(query, (user, most)).fetchall()

    def seen(self, user: str) -> list[str]:
        query = "SELECT DISTINCT item FROM events WHERE user = (SELECT number FROM users WHERE name = ?)"
        with self._read() as connection:
            return [item for (item,) in connection.execute(query, (user,))]

    def seen_among(self, user: str, items: Sequence[str]) -> set[str]:
        if not items:
            return set()
        query = f"""WITH asked (item) AS (VALUES {",".join(["(?)"] * len(items))}) SELECT item FROM asked
            WHERE EXISTS (SELECT 1 FROM events WHERE user = (SELECT number FROM users WHERE name = ?)
                AND events.item = asked.item)"""
        with self._read() as connection:
            return {item for (item,) in connection.execute(query, (*items, user))}

    def keep(self, made: Sequence[tuple[str, History, State]]) -> None:
        query = "SELECT 1 FROM users WHERE name = ? AND number = ? AND events = ?"
        with self._write("write", patience=_PATIENCE) as connection:
            for user, history, state in made:
                if connection.execute(query, (user, history.owner, len(history.items))).fetchone():
                    _put_state(connection, history.owner, state)

    def evict(self, most: int) -> int:
        dropped = 0
        with self._write("evict from") as connection:
            for version, states in connection.execute(
                "SELECT version, count(*) FROM states GROUP BY version"
            ).fetchall():
                oldest = "SELECT rowid FROM states WHERE version = ? ORDER BY written LIMIT ?"
                beyond = max(0, states - most)
                connection.execute(f"DELETE FROM states WHERE rowid IN ({oldest})", (version, beyond))
                dropped += beyond
        return dropped

    def outdated(self, version: str, after: int, most: int) -> tuple[list[str], int | None]:
        state = "SELECT 1 FROM states WHERE user = number"
        query = f"""SELECT number, name, EXISTS ({state}) AND NOT EXISTS ({state} AND version = ?)
            FROM users WHERE number > ? ORDER BY number LIMIT ?"""
        with self._read() as connection:
            users = connection.execute(query, (version, after, most)).fetchall()
        return [name for _, name, is_outdated in users if is_outdated], users[-1][0] if users else None

    def drop_others(self, version: str, most: int) -> int:
        others = "SELECT rowid FROM states WHERE version != ? LIMIT ?"
        with self._write("write") as connection:
            return connection.execute(f"DELETE FROM states WHERE rowid IN ({others})", (version, most)).rowcount

    def erase(self, user: str) -> bool:
        with self._write("erase from") as connection:
            row = connection.execute("SELECT number FROM users WHERE name = ?", (user,)).fetchone()
            if row is None:
                return False
            connection.execute("DELETE FROM states WHERE user = ?", row)
            connection.execute("DELETE FROM events WHERE user = ?", row)
            connection.execute("DELETE FROM users WHERE number = ?", row)
            connection.execute("UPDATE erasures SET unscrubbed = unscrubbed + 1")
        return True

    def scrub(self) -> bool:
        """Write the database anew, and empty its log.

        SQLite overwrites what is deleted (``secure_delete``), but not the copies that stay behind when rows move from
        page to page. Nothing else can be written meanwhile; reads go on, and answers with them. It takes time by the
        store's size, and twice its room: for a copy, and for that copy in the log.
        """
        count = "SELECT unscrubbed FROM erasures"
        with self._writing, self._errors("scrub"), self._turn:
            (before,) = self._writer.execute(count).fetchone()
            if not before:
                return True
            self._writer.execute("VACUUM")
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")  # what can be done beside reads
            with self._reading:
                (busy, _, _) = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:  # another process reads
                return False
            self._writer.execute("UPDATE erasures SET unscrubbed = unscrubbed - ?", (before,))
            return bool(self._writer.execute(count).fetchone()[0] == 0)

    def items(self, after: int = 0) -> list[StoredItem]:
        query = "SELECT item, fields, removed, vector, version FROM items WHERE changed > ? ORDER BY number"
        with self._read() as connection:
            return [
                StoredItem(
                    item=item,
                    fields=None if fields is None else json.loads(fields),
                    removed=bool(removed),
                    vector=vector,
                    version=version,
                )
                for item, fields, removed, vector, version in connection.execute(query, (after,))
            ]

    def items_version(self) -> int:
        with self._reading, self._errors("read"):
            return _items_version(self._reader)

    def put_items(self, items: Sequence[StoredItem], known: int | None = None) -> bool:
        query = """INSERT INTO items (item, fields, removed, vector, version, changed) VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (item) DO UPDATE SET removed = excluded.removed, changed = excluded.changed,
            fields = coalesce(excluded.fields, fields), vector = coalesce(excluded.vector, vector),
            version = iif(excluded.vector IS NULL, version, excluded.version)"""
        fields = [None if each.fields is None else json.dumps(each.fields) for each in items]
        with self._write("write") as connection:
            now = _items_version(connection)
            if known not in (None, now):
                return False
            rows = [
                (each.item, told, each.removed, each.vector, each.version, now + 1)
                for each, told in zip(items, fields, strict=True)
            ]
            connection.executemany(query, rows)
        return True

    def size(self) -> int:
        return sum(file.stat().st_size for file in self.path.parent.glob(f"{self.path.name}*"))

    def close(self) -> None:
        if self._flusher is not None:
            self._flusher.close()
        with self._writing, self._reading:
            self._reader.close()
            self._writer.close()
            self._turn.close()

    @contextmanager
    def _write(self, what: str, patience: float | None = None) -> Iterator[sqlite3.Connection]:
        """A transaction; with ``patience`` it is given up when others have written for so many seconds."""
        with self._errors(what), self._alone(patience):
            if self._flusher is not None:
                self._flusher.check()
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
                if self._flusher is not None:
                    self._flusher.written()
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def _alone(self, patience: float | None) -> Iterator[None]:
        """Neither another thread nor another process writes."""
        if patience is None:
            with self._writing, self._turn:
                yield
            return
        if not self._writing.acquire(timeout=patience):
            raise TimeoutError("another thread writes for long")
        try:
            with self._turn.within(patience):
                yield
        finally:
            self._writing.release()

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with self._reading, self._errors("read"):
            self._reader.execute("BEGIN")
            try:
                yield self._reader
            finally:
                self._reader.execute("ROLLBACK")

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        if self.read_only and what != "read":
            raise StoreError(f"cannot {what} the store: {self.read_only}")
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"cannot {what} the store {self.path}: {reason_of(error)}; nothing was changed") from error


class _Writes(Transaction):
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def account(self, user: str, version: str | None) -> Account:
        return _account(self._connection, user, version)

    def knows(self, user: str, event_id: str) -> bool:
        query = "SELECT 1 FROM events WHERE user = (SELECT number FROM users WHERE name = ?) AND id = ?"
        return self._connection.execute(query, (user, event_id)).fetchone() is not None

    def extend(self, change: Change, state: State | None) -> None:
        write, before = self._connection.execute, change.account.events
        after = (before + len(change.events), change.times[-1])
        if before:
            write("UPDATE users SET events = ?, last = ? WHERE name = ?", (*after, change.user))
        else:
            write("INSERT INTO users (name, events, last) VALUES (?, ?, ?)", (change.user, *after))
        (number,) = write("SELECT number FROM users WHERE name = ?", (change.user,)).fetchone()
        self._connection.executemany(
            "INSERT INTO events (user, place, item, time, id) VALUES (?, ?, ?, ?, ?)",
            [(number, before + i, event.item, event.time, event.id) for i, event in enumerate(change.events)],
        )
        kept = "" if state is None else state.version
        write("DELETE FROM states WHERE user = ? AND version != ?", (number, kept))
        if state is not None:
            _put_state(self._connection, number, state)


def _items_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(changed), 0) FROM items").fetchone()[0])


def _account(connection: sqlite3.Connection, user: str, version: str | None) -> Account:
    row: tuple[Any, ...] | None = connection.execute(
        """SELECT events, last, version, data FROM users
        LEFT JOIN states ON user = number AND version = coalesce(?, version)
        WHERE name = ? ORDER BY written DESC LIMIT 1""",
        (version, user),
    ).fetchone()
    if row is None:
        return Account()
    events, last, version, data = row
    return Account(events=events, last=last, state=None if data is None else State(version=version, data=data))


def _put_state(connection: sqlite3.Connection, number: int, state: State) -> None:
    connection.execute(
        """INSERT INTO states (user, version, written, data) VALUES (?, ?, ?, ?)
        ON CONFLICT (user, version) DO UPDATE SET written = excluded.written, data = excluded.data""",
        (number, state.version, time.time_ns(), state.data),
    )
