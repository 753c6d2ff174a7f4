"""From any table of events to a data set, out of core.

DuckDB reads, checks, filters and sorts within a memory limit and spills to disk beyond it; the sorted events stream
in record batches into the arrays' files. No table of events is ever held in Python. Files are read into a database on
disk, beside ``out``, in which an interrupted process finds what it has done.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from hydrarec._version import __version__
from hydrarec.amount import amount
from hydrarec.data.describe import describe_events
from hydrarec.data.fingerprint import fingerprint
from hydrarec.data.folder import is_dataset
from hydrarec.data.protocol import Protocol, SplitName
from hydrarec.data.reading.engine import engine, to_table
from hydrarec.data.reading.events import Events, read_events
from hydrarec.data.reading.item_domains import join_domains
from hydrarec.data.reading.item_text import ItemText, join_text
from hydrarec.data.reading.kcore import count_core
from hydrarec.data.reading.merge import Merged, merge, prefix
from hydrarec.data.reading.pack import take_arrays, write_arrays
from hydrarec.data.reading.several import ALONE, by_name, roles_of_several, texts_of
from hydrarec.data.reading.source import files_of, is_frame, quote
from hydrarec.data.reading.stages import Stages
from hydrarec.data.reading.watch import watch
from hydrarec.data.store import Dataset, identity
from hydrarec.errors import InputError
from hydrarec.files import linked, whole_folder
from hydrarec.progress import Progress, Silent
from hydrarec.sharing import unfinished

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
        overwrite: replace ``out`` if it exists; only a data set is replaced.
        least_items: fewer are refused: there would be nothing to choose from.
        log: told what was chosen and found, a line at a time.
        progress: shows how far the work is.

    Raises:
        InputError: bad input; the message names the place and the remedy. HydrarecError: the disk is full, or
            ``memory`` does not suffice. In either case ``out`` is as it was before. Where a process that read files was
            killed or interrupted, the same call goes on with what it had read, counted and written (one for other
            files, or otherwise, removes that); data frames are read again.
    """
    _check_limits(min_user, min_item, memory)
    sources = by_name(source)
    texts = texts_of(items, sources)
    protocol = protocol if isinstance(protocol, Protocol) else Protocol.named(protocol)
    if time is False and protocol.split == "time":
        raise InputError("protocol time needs event times; use --protocol loo, or name the column with --time")
    say, progress = log or (lambda line: None), progress or Silent()
    roles = {"user": user, "item": item, "time": time, "rating": rating, "domain": domain}
    if ALONE not in sources:
        roles |= roles_of_several(time, domain)

    def fill(folder: Path, work: Path, database: Path | None) -> None:
        with engine(work / "spill", database=database, memory=memory, threads=threads) as connection:
            stages = Stages(connection)
            if stages.found:
                say("goes on with what an interrupted process had done")
            with watch(connection, progress, "read"):
                parts = _read(connection, stages, sources, roles, say)
            merged = merge(connection, parts)
            facts = _facts(parts)
            with watch(connection, progress, "count"):
                item_table, user_table = _filter(connection, stages, min_user, min_item, least_items, facts, say)
            if merged.domains:
                item_table = join_domains(connection, item_table, merged.domains, place=facts["source"], log=say)
            if texts:
                item_table = join_text(connection, item_table, _item_text(texts, parts), strict=strict, log=say)
            write_arrays(connection, stages, work, user_table, merged, progress)
        take_arrays(work, folder, merged)
        _finish(folder, item_table, user_table, merged, protocol, facts, say)

    if out is None:
        with tempfile.TemporaryDirectory(prefix="hydrarec-") as scratch:
            fill(Path(scratch), Path(scratch), None)
            return _in_memory(Dataset.open(scratch))
    _refuse_to_replace(Path(out), sources)
    with (
        whole_folder(Path(out), overwrite=overwrite) as folder,
        _workplace(linked(Path(out)), folder, sources, [roles, min_user, min_item]) as (work, database),
    ):
        fill(folder, work, database)
    return Dataset.open(out)


def _check_limits(min_user: int, min_item: int, memory: str | None) -> None:
    for name, least in (("min-user", min_user), ("min-item", min_item)):
        if least < 1:
            raise InputError(f"--{name} is {least}; it must be at least 1, which drops nothing")
    if memory is not None:
        amount(memory, "--memory")


def _refuse_to_replace(out: Path, sources: Mapping[str, Any]) -> None:
    """Raise an ``InputError`` where ``out`` is something else than a data set, or holds the sources."""
    if out.exists() and not is_dataset(out) and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out} exists and is no data set; choose another name")
    for source in sources.values():
        for file in [] if is_frame(source) else files_of(source):
            if out.resolve() in (file.resolve(), *file.resolve().parents):
                raise InputError(f"{file} lies in {out}, which would be replaced; choose another name")


@contextmanager
def _workplace(
    out: Path, folder: Path, sources: Mapping[str, Any], settings: list[Any]
) -> Iterator[tuple[Path, Path | None]]:
    """Where to work, and the database to work in; both outlive a process that is killed, if it reads files."""
    if any(is_frame(source) for source in sources.values()):
        yield folder, None
        return
    files = [
        [name, [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files_of(source)]]
        for name, source in sources.items()
    ]
    with unfinished(out, [__version__, duckdb.__version__, files, *settings]) as work:
        yield work, work / "stages.duckdb"


def _read(
    connection: duckdb.DuckDBPyConnection,
    stages: Stages,
    sources: Mapping[str, Any],
    roles: dict[str, Any],
    log: Log,
) -> dict[str, Events]:
    """A table of checked, typed events of each source."""

    def log_of(name: str) -> Log:
        return log if name == ALONE else lambda line: log(f"{name}: {line}")

    def read(table: str, name: str) -> dict[str, Any]:
        return asdict(read_events(connection, sources[name], roles, table=table, log=log_of(name)))

    return {
        name: Events.from_dict(stages.once(table := f"events_{number}", partial(read, table, name)))
        for number, name in enumerate(sources)
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
    stages: Stages,
    min_user: int,
    min_item: int,
    least_items: int,
    facts: dict[str, Any],
    log: Log,
) -> tuple[pa.Table, pa.Table]:
    """Take the k-core; the item and user tables of what is left, by ascending id."""
    users, items = stages.once("counted", lambda: count_core(connection, min_user=min_user, min_item=min_item, log=log))
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
