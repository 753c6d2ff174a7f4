"""From any table of events to a data set, out of core.

DuckDB reads, checks, filters and sorts within a memory limit and spills to disk beyond it; the sorted events stream
in record batches into the arrays' files. No table of events is ever held in Python.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from hydrarec.data.describe import describe_events
from hydrarec.data.fingerprint import fingerprint
from hydrarec.data.protocol import Protocol, SplitName
from hydrarec.data.reading.engine import engine, to_reader, to_table
from hydrarec.data.reading.events import Events, read_events
from hydrarec.data.reading.item_domains import join_domains
from hydrarec.data.reading.item_text import ItemText, join_text
from hydrarec.data.reading.kcore import count_core
from hydrarec.data.reading.merge import Merged, merge, prefix
from hydrarec.data.reading.several import ALONE, by_name, roles_of_several, texts_of
from hydrarec.data.reading.source import quote
from hydrarec.data.reading.watch import watch
from hydrarec.data.store import Dataset, identity
from hydrarec.data.writer import ArrayWriter
from hydrarec.errors import InputError
from hydrarec.files import whole_folder
from hydrarec.progress import Progress, Silent

_DTYPES = {"item": np.int32, "time": np.int64, "rating": np.float32}
_BATCH = 1 << 19
Log = Callable[[str], None]


def prepare(
    source: Any,
    out: Path | str | None = None,
    *,
    user: str | None = None,
    item: str | None = None,
    time: str | bool | None = None,
    rating: str | None = None,
    domain: str | bool | None = None,
    items: Any = None,
    strict: bool = False,
    protocol: SplitName | Protocol = "time",
    min_user: int = 1,
    min_item: int = 1,
    memory: str | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    least_items: int = 2,
    log: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Turn a table of events, or several, into a data set.

    Events are sorted by user, then time; events of one user at the same time keep the order of the source. Users and
    items are numbered in ascending order of their own ids, which stay integers if all of them are and strings
    otherwise. Repeated events are kept.

    Several sources are domains of one data set. Their item ids become ``NAME:ID``. A user id stands for the same
    person in all of them, whose events become one history in order of time (at the same time: in order of the sources).

    Args:
        source: events: a path (CSV, TSV, Parquet, JSON lines, RecBole ``.inter``; a folder or pattern of them) or a
            data frame (pandas, polars, Arrow). Several: a list of paths, each a domain called after its file (after
            its folder, where the file's name is a generic one such as ``events``), or a mapping from names to sources.
        out: the data set's folder; None: a data set in memory.
        user, item, time, rating, domain: column names; None: guess from usual names. ``time=False``: there is no
            time, and the rows are in order. ``domain=False``: there are no domains.
        items: titles and further text of items: any source with an item id column. For several sources a list as
            long as theirs, or a mapping from their names.
        strict: an item of the events that is not among ``items`` is an error; else it is known by its id alone.
        protocol: a protocol, or the name of a usual one.
        min_user, min_item: drop users and items with fewer events than this, until all have as many (k-core).
            Events of the test part count too: published protocols do the same, but it is a look into the future.
        memory: what the process may take, such as ``"4GB"``; None: half of the machine's memory, at most 4 GB. Beyond
            it, work goes on on disk, beside ``out``.
        threads: None: as many as the machine has.
        overwrite: replace ``out`` if it exists.
        least_items: fewer are refused: there would be nothing to choose from.
        log: told what was chosen and found, a line at a time.
        progress: shows how far the work is.

    Raises:
        InputError: bad input; the message names the place and the remedy. HydrarecError: the disk is full, or
            ``memory`` does not suffice. In either case ``out`` is as it was before. What a killed process left half
            written is removed by the next call with the same ``out``.
    """
    for name, least in (("min-user", min_user), ("min-item", min_item)):
        if least < 1:
            raise InputError(f"--{name} is {least}; it must be at least 1, which drops nothing")
    sources = by_name(source)
    texts = texts_of(items, sources)
    protocol = protocol if isinstance(protocol, Protocol) else Protocol.named(protocol)
    if time is False and protocol.split == "time":
        raise InputError("protocol time needs event times; use --protocol loo, or name the column with --time")
    say, progress = log or (lambda line: None), progress or Silent()
    roles = {"user": user, "item": item, "time": time, "rating": rating, "domain": domain}
    if ALONE not in sources:
        roles |= roles_of_several(time, domain)

    def fill(folder: Path) -> None:
        with engine(folder / "spill", memory=memory, threads=threads) as connection:
            with watch(connection, progress, "read"):
                parts = _read(connection, sources, roles, say)
            merged = merge(connection, parts)
            facts = _facts(parts)
            with watch(connection, progress, "count"):
                item_table, user_table = _filter(connection, min_user, min_item, least_items, facts, say)
            if merged.domains:
                item_table = join_domains(connection, item_table, merged.domains, place=facts["source"], log=say)
            if texts:
                item_table = join_text(connection, item_table, _item_text(texts, parts), strict=strict, log=say)
            _write_events(connection, folder, user_table, merged, progress)
        _finish(folder, item_table, user_table, merged, protocol, facts, say)

    if out is None:
        with tempfile.TemporaryDirectory(prefix="hydrarec-") as scratch:
            fill(Path(scratch))
            return _in_memory(Dataset.open(scratch))
    with whole_folder(Path(out), overwrite=overwrite) as folder:
        fill(folder)
    return Dataset.open(out)


def _read(
    connection: duckdb.DuckDBPyConnection, sources: Mapping[str, Any], roles: dict[str, Any], log: Log
) -> dict[str, Events]:
    """A table of checked, typed events of each source."""

    def log_of(name: str) -> Log:
        return log if name == ALONE else lambda line: log(f"{name}: {line}")

    return {
        name: read_events(connection, source, roles, table=f"events_{number}", log=log_of(name))
        for number, (name, source) in enumerate(sources.items())
    }


def _facts(parts: Mapping[str, Events]) -> dict[str, Any]:
    """Where the events came from."""
    units = dict.fromkeys(each.times.unit for each in parts.values() if each.times is not None)
    return {
        "source": ", ".join(each.place for each in parts.values()),
        "columns": parts[ALONE].names if ALONE in parts else {name: each.names for name, each in parts.items()},
        "source_events": sum(each.count for each in parts.values()),
        **({"time_unit": ", ".join(units)} if units else {}),
    }


def _item_text(texts: Mapping[str, Any], parts: Mapping[str, Events]) -> list[ItemText]:
    return [
        ItemText(source=text, item=parts[name].columns.item, kind=parts[name].types["item"], prefix=prefix(name))
        for name, text in texts.items()
    ]


def _filter(
    connection: duckdb.DuckDBPyConnection,
    min_user: int,
    min_item: int,
    least_items: int,
    facts: dict[str, Any],
    log: Log,
) -> tuple[pa.Table, pa.Table]:
    """Take the k-core; the item and user tables of what is left, by ascending id."""
    users, items = count_core(connection, min_user=min_user, min_item=min_item, log=log)
    item_table, user_table = (
        to_table(connection, f"SELECT id AS {quote(name)}, events FROM {name}s ORDER BY id")
        for name in ("item", "user")
    )
    if not item_table.num_rows:
        raise InputError(
            f"nothing is left of {facts['source']} with --min-user {min_user} and --min-item {min_item}; lower them"
        )
    if item_table.num_rows < least_items:
        only = item_table["item"][0].as_py()
        raise InputError(f"{facts['source']} has a single item, {only!r}; there is nothing to choose from")
    kept = int(np.sum(user_table["events"].to_numpy()))
    facts["removed"] = {"users": users, "items": items, "events": facts["source_events"] - kept}
    return item_table, user_table


def _write_events(
    connection: duckdb.DuckDBPyConnection, folder: Path, user_table: pa.Table, merged: Merged, progress: Progress
) -> None:
    """Stream the events, sorted and numbered, into the arrays' files."""
    lengths = user_table["events"].to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    np.save(folder / "offsets.npy", offsets)
    (folder / "columns").mkdir()
    for name in ("user", "item"):
        connection.execute(
            f"CREATE TABLE {name}_rows AS SELECT id, CAST(row_number() OVER (ORDER BY id) - 1 AS INTEGER) AS n "
            f"FROM {name}s"
        )
    extra = ["rating"] * merged.has_ratings
    query = (
        f"SELECT item_rows.n AS item, time{''.join(f', {name}' for name in extra)} FROM events "
        'JOIN user_rows ON events."user" = user_rows.id JOIN item_rows ON events.item = item_rows.id '
        "ORDER BY user_rows.n, time, row"
    )
    with watch(connection, progress, "sort"):
        reader = to_reader(connection, query, _BATCH)  # the sort is over when the first batch is there
    files = {"item": "items.npy", "time": "times.npy"} | {name: f"columns/{name}.npy" for name in extra}
    dtypes = {folder / file: _DTYPES[name] for name, file in files.items()}
    with (
        progress.task("write", total=int(offsets[-1])) as task,
        ArrayWriter(dtypes, int(offsets[-1])) as writer,
    ):
        for batch in reader:
            arrays = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in files}
            arrays["time"] = np.floor_divide(
                arrays["time"], merged.per_second
            )  # whole seconds; sorting saw the full time
            writer.append({folder / file: arrays[name] for name, file in files.items()})
            task.advance(len(batch))


def _finish(
    folder: Path,
    item_table: pa.Table,
    user_table: pa.Table,
    merged: Merged,
    protocol: Protocol,
    facts: dict[str, Any],
    log: Log,
) -> None:
    items, times, offsets = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("items", "times", "offsets"))
    facts = describe_events(times if merged.has_times else None, offsets, item_table.num_rows) | facts
    log(f"{facts['users']:,} users, {facts['items']:,} items, {facts['events']:,} events")
    names = ["rating"] * merged.has_ratings
    Dataset(
        items=items,
        times=times,
        offsets=offsets,
        columns={name: np.load(folder / "columns" / f"{name}.npy", mmap_mode="r") for name in names},
        item_table=item_table,
        user_table=user_table,
        protocol=protocol,
        fingerprint=fingerprint(items, times, offsets, *identity(item_table, user_table)),
        has_times=merged.has_times,
        statistics=facts,
    ).write_tables(folder)


def _in_memory(dataset: Dataset) -> Dataset:
    """The same data set without its folder."""
    return replace(
        dataset,
        items=np.array(dataset.items),
        times=np.array(dataset.times),
        offsets=np.array(dataset.offsets),
        columns={name: np.array(column) for name, column in dataset.columns.items()},
        path=None,
    )
