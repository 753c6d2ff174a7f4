"""What is special about the store on disk: files, other processes, faults of the disk."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from stores import event, file_bytes, fold, step, told

from hydrarec import InputError
from hydrarec.serve.stores import flush
from hydrarec.serve.stores.contract import Account, State, StoredItem, StoreError
from hydrarec.serve.stores.disk import FILE, DiskStore


def test_everything_is_there_again(tmp_path):
    with DiskStore(tmp_path) as store:
        store.append([event("a", "x", 1, "1")], step)
    with DiskStore(tmp_path) as store:
        assert store.append([event("a", "x", 1, "1"), event("a", "y", 2)], step) == [False, True]
        assert store.accounts(["a"])[0].state.data == told(store, "a") == b"x@1;y@2;"


def test_a_store_of_the_first_format_gets_what_it_lacks(tmp_path):
    with DiskStore(tmp_path) as store:
        store.append([event("a", "x", 1)], step)
        store._writer.executescript("DROP TABLE items; DROP TABLE states")
        store._writer.execute("CREATE TABLE states (user INTEGER PRIMARY KEY, version TEXT, data BLOB)")
        store._writer.execute("PRAGMA user_version = 1")
    with DiskStore(tmp_path) as store:
        assert store.items() == []
        store.put_items([StoredItem(item="x", removed=True)])
        assert store.accounts(["a"])[0] == Account(events=1, last=1)
    with DiskStore(tmp_path) as store:
        assert store.items() == [StoredItem(item="x", removed=True)]


def test_a_store_of_the_second_format_gets_what_it_lacks(tmp_path):
    with DiskStore(tmp_path) as store:
        store.append([event("a", "x", 1)], step)
        store.put_items([StoredItem(item="x", removed=True)])
        store._writer.executescript("DROP INDEX items_by_change; ALTER TABLE items DROP COLUMN changed")
        store._writer.execute("PRAGMA user_version = 2")
    for _ in range(2):
        with DiskStore(tmp_path) as store:
            assert store.accounts(["a"])[0].state.data == b"x@1;"
            assert store.items(0)[:1] == [StoredItem(item="x", removed=True)]
            assert store.put_items([StoredItem(item="y")], store.items_version())


def test_a_store_of_the_third_format_finds_events_by_item(tmp_path):
    with DiskStore(tmp_path) as store:
        store.append([event("a", "x", 1)], step)
        store._writer.executescript("DROP INDEX events_by_item; PRAGMA user_version = 3")
    with DiskStore(tmp_path) as store:
        assert store.seen_among("a", ["x", "y"]) == {"x"}
        plan = store._reader.execute("EXPLAIN QUERY PLAN SELECT 1 FROM events WHERE user = 1 AND item = 'x'").fetchall()
        assert "events_by_item" in str(plan)


def test_writers_take_turns(tmp_path):
    """Nobody gives up, as SQLite's own waiters do, however long another has the turn."""
    with DiskStore(tmp_path) as one, DiskStore(tmp_path) as other:
        other._writer.execute("PRAGMA busy_timeout = 0")
        began = threading.Event()

        def slow(changes):
            threads[0].start()
            began.wait(30)
            time.sleep(0.2)
            return step(changes)

        def late():
            began.set()
            found.append(other.append([event("a", "y", 2)], step))

        found, threads = [], [threading.Thread(target=late)]
        assert one.append([event("a", "x", 1), event("b", "x", 1)], slow) == [True, True]
        threads[0].join(60)
        assert found == [[True]]
        assert one.history("a").items == ["x", "y"]


def test_two_open_at_once(tmp_path):
    with DiskStore(tmp_path) as one, DiskStore(tmp_path) as other:
        for k in range(5):
            assert one.append([event("a", f"x{k}", k, f"{k}")], step) == [True]
            assert other.append([event("a", f"x{k}", k, f"{k}"), event("a", f"y{k}", k)], step) == [False, True]
        assert one.accounts(["a"])[0].state.data == told(other, "a")
        assert one.accounts(["a"])[0].events == 10


@pytest.mark.parametrize("seed", range(8))
def test_bytes_of_the_erased_are_in_no_file(tmp_path, seed):
    """Rows move between pages as the database grows and shrinks, so that copies of them stay behind in places."""
    draw = random.Random(seed)
    users = draw.choice([3, 30, 100])
    pad = "." * draw.choice([0, 40, 3000])
    with DiskStore(tmp_path) as store:
        store._writer.execute("PRAGMA synchronous = OFF")  # quick
        for _ in range(30):
            for _ in range(draw.choice([1, 5])):
                chosen = [draw.randrange(users) for _ in range(draw.choice([1, 10, 60]))]
                events = [
                    event(f"USER{u:04}", f"ITEM-OF-{u:04}" + "." * draw.randrange(40), 0, f"ID-{u:04}-{draw.random()}")
                    for u in chosen
                ]
                store.append(events, lambda changes: [State(version=pad, data=fold(each).data) for each in changes])
            gone = draw.choice(events).user
            assert gone.encode() in file_bytes(tmp_path)
            assert store.erase(gone)
            assert store.scrub()
            found = file_bytes(tmp_path)
            assert not [word for word in ("USER", "ITEM-OF-", "ID-") if gone.replace("USER", word).encode() in found]
        stay = [f"USER{u:04}" for u in range(users) if store.accounts([f"USER{u:04}"])[0].events]
        assert all(user.encode() in found for user in stay)
        assert all(store.accounts([user])[0].state.data == told(store, user) for user in stay)


def test_a_scrub_that_did_not_happen_is_made_up_for(tmp_path):
    with DiskStore(tmp_path) as store:
        store.append([event(f"user-{u}", "x", 1) for u in range(50)], step)
        store.erase("user-7")
    with DiskStore(tmp_path) as store:
        for to_be_done in (True, False):
            os.utime(tmp_path / FILE, ns=(0, 0))  # a disk may be quicker than its clock
            assert store.scrub()
            assert ((tmp_path / FILE).stat().st_mtime_ns > 0) == to_be_done
        assert b"user-7" not in file_bytes(tmp_path)


def test_a_reader_elsewhere_puts_a_scrub_off(tmp_path):
    with DiskStore(tmp_path) as store:
        store._writer.execute("PRAGMA busy_timeout = 50")
        store.append([event("a", "x", 1), event("b", "x", 1)], step)
        other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        other.execute("BEGIN")
        other.execute("SELECT * FROM users").fetchall()
        store.erase("a")
        assert not store.scrub()
        other.execute("ROLLBACK")
        assert store.scrub()
        other.close()


def test_reads_go_on_while_files_are_scrubbed(tmp_path):
    read = []

    def look():
        """Called by SQLite at work."""
        if not store._reading.locked():  # it is for the last moment alone
            read.append(store.accounts(["b"])[0].events)

    with DiskStore(tmp_path) as store:
        store.append([event(user, "x", 1) for user in "abcdefgh"], step)
        store.erase("a")
        store._writer.set_progress_handler(look, 10)
        assert store.scrub()
        store._writer.set_progress_handler(None, 0)
        assert len(read) > 5
        assert set(read) == {1}


@pytest.mark.parametrize("same_process", [True, False])
def test_who_answers_does_not_wait_for_a_long_write_to_keep_a_state(tmp_path, same_process):
    with DiskStore(tmp_path) as store, DiskStore(tmp_path) as other:
        store.append([event("a", "x", 1)], step)
        kept = [("a", store.history("a"), State(version="2", data=b"new"))]
        scrubbing = store if same_process else other
        refused = []

        def answer():
            """Called by SQLite at work; a thread that writes itself cannot ask."""
            if not refused:
                with ThreadPoolExecutor(1) as pool, pytest.raises(StoreError, match="writes for long"):
                    pool.submit(store.keep, kept).result()
                refused.append(1)

        store.append([event("b", "x", 1)], step)
        store.erase("b")
        scrubbing._writer.set_progress_handler(answer, 10)
        scrubbing.scrub()
        scrubbing._writer.set_progress_handler(None, 0)
        assert refused == [1]
        store.keep(kept)
        assert store.accounts(["a"], "2")[0].state.data == b"new"


def test_a_copy_for_scrubbing_is_made_where_the_store_is(tmp_path):
    opened = set()

    def look():
        for descriptor in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):
                opened.add(str(descriptor.readlink()))

    with DiskStore(tmp_path) as store:
        store.append([event(str(user), "x" * 1000, 1) for user in range(3000)], step)
        store.erase("0")
        store._writer.execute("PRAGMA cache_size = 10")  # so that it needs a file
        store._writer.set_progress_handler(look, 1000)
        assert store.scrub()
        store._writer.set_progress_handler(None, 0)
    copies = [name for name in opened if "etilqs" in name]
    assert copies
    assert all(name.startswith(str(tmp_path)) for name in copies)


FULL = """
import resource, sys
from pathlib import Path
from stores import event, step, told
from hydrarec.serve.stores.disk import DiskStore
from hydrarec.serve.stores.contract import StoreError

place = Path(sys.argv[1])
store = DiskStore(place)
store.append([event("a", "x", 1, "first")], step)
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (max(f.stat().st_size for f in place.iterdir()) + 30_000, unlimited[1]))
stored = 1
for k in range(100):
    try:
        store.append([event("a", "y" * 2000, 2 + k, f"{k}")], step)
        stored += 1
    except StoreError as error:
        message = str(error)
        break
assert store.accounts(["a"])[0].events == stored, "reads go on"
assert store.accounts(["a"])[0].state.data == told(store, "a")
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
assert store.append([event("a", "x", 1, "first"), event("a", "z", 500)], step) == [False, True]
assert store.accounts(["a"])[0].state.data == told(store, "a")
assert store.accounts(["a"])[0].events == stored + 1
store.close()
print(message)
"""


def test_a_full_disk(tmp_path):
    """Files may not grow any more, which is how a full disk looks to SQLite; then there is room again."""
    done = run(FULL, tmp_path)
    assert done.startswith(f"cannot write the store {tmp_path / FILE}: ")
    assert done.endswith("; nothing was changed")


READ_ONLY = """
import os, sys
from pathlib import Path
from stores import event, step
from hydrarec.serve.stores.disk import DiskStore
from hydrarec.serve.stores.contract import StoreError

if not os.getuid():
    os.setuid(65534)  # to root everything is writable
with DiskStore(Path(sys.argv[1])) as store:
    assert store.accounts(["a"])[0].state.data == b"x@1;"
    assert store.history("a").items == ["x"]
    assert store.read_only
    for change in (lambda: store.append([event("a", "y", 2)], step), lambda: store.erase("a"), lambda: store.evict(0)):
        try:
            change()
        except StoreError as error:
            message = str(error)
        else:
            raise AssertionError("was written")
    assert store.accounts(["a"])[0].events == 1
print(message)
"""


@pytest.mark.parametrize("killed", [False, True])
def test_a_place_that_cannot_be_written_can_be_read(tmp_path, killed):
    store = DiskStore(tmp_path / "store")
    store.append([event("a", "x", 1)], step)
    place = tmp_path / "copy"
    if killed:  # SQLite's own files lie beside the database
        shutil.copytree(tmp_path / "store", place)
        store.close()
    else:
        store.close()
        shutil.copytree(tmp_path / "store", place)
    for path in [*place.iterdir(), place]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    for path in place.parents:  # another user comes here
        if path.owner() == place.owner() and path.name.startswith(("pytest-", "popen-", "test_")):
            path.chmod(0o755)
    try:
        done = run(READ_ONLY, place)
    finally:
        place.chmod(0o755)
    assert done.startswith(f"cannot evict from the store: {place / FILE} cannot be written (")


def run(script, place):
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-c", script, str(place)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_files_that_are_no_store(tmp_path):
    (tmp_path / FILE).write_bytes(b"something else, not a database at all" * 100)
    with pytest.raises(InputError, match="is no store of users"):
        DiskStore(tmp_path)
    with pytest.raises(InputError, match=r"cannot be made \(.*\); name another folder"):
        DiskStore(tmp_path / FILE / "below")
    place = tmp_path / "newer"
    DiskStore(place).close()
    connection = sqlite3.connect(place / FILE)
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(InputError, match=r"newer.* is a store of format 7, this hydrarec knows 4"):
        DiskStore(place)


def test_another_process_that_writes_for_long(tmp_path):
    with DiskStore(tmp_path) as store:
        store._writer.execute("PRAGMA busy_timeout = 10")
        other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="database is locked; nothing was changed"):
            store.append([event("a", "x", 1)], step)
        assert store.accounts(["a"])[0].events == 0
        other.execute("ROLLBACK")
        assert store.append([event("a", "x", 1)], step) == [True]
        other.close()


def test_batch_durability_tells_the_disk_soon(tmp_path, monkeypatch):
    """All writes are behind the flush that follows them; writes close together share one."""
    sizes, real = [], os.fdatasync
    wal = tmp_path / f"{FILE}-wal"

    def counted(file):
        real(file)
        sizes.append(os.fstat(file).st_size)

    monkeypatch.setattr(flush, "_flush", counted)
    monkeypatch.setattr(flush, "SECONDS", 60)  # closing does not wait for it
    with DiskStore(tmp_path, durability="batch") as store:
        for k in range(20):
            store.append([event("a", "x", k)], step)
        written = wal.stat().st_size
    # Another one where closing wakes the flush before it has said all that it has to say.
    assert sizes in ([written], [written, written])


def test_what_is_written_during_the_last_flush_is_flushed_too(tmp_path, monkeypatch):
    file, sizes, began, go, real = tmp_path / "file", [], threading.Event(), threading.Event(), os.fdatasync

    def slow(descriptor):
        size = os.fstat(descriptor).st_size
        began.set()
        assert go.wait(30)
        real(descriptor)
        sizes.append(size)

    monkeypatch.setattr(flush, "_flush", slow)
    file.write_bytes(b"1")
    flusher = flush.Flusher(file)
    flusher.written()
    assert began.wait(30)
    file.write_bytes(b"22")
    flusher.written()
    closing = threading.Thread(target=flusher.close)
    closing.start()
    while not flusher._closing.is_set():
        pass
    go.set()
    closing.join(30)
    assert sizes[-1] == 2


def test_a_disk_that_refuses_a_flush_is_not_written_to(tmp_path, monkeypatch):
    def refuse(file):
        raise OSError(5, "Input/output error")

    with DiskStore(tmp_path, durability="batch") as store:
        monkeypatch.setattr(flush, "_flush", refuse)
        store.append([event("a", "x", 1)], step)
        store._flusher._dirty.set()
        while store._flusher._error is None:
            pass
        with pytest.raises(StoreError, match=r"does not take .*Input/output error"):
            store.append([event("a", "y", 2)], step)
        assert store.accounts(["a"])[0].events == 1
