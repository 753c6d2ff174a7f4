"""The events, sorted and numbered, streamed into the files of the packed arrays."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from hydrarec.data.reading.engine import to_reader
from hydrarec.data.reading.merge import Merged
from hydrarec.data.reading.stages import Stages
from hydrarec.data.reading.watch import watch
from hydrarec.data.writer import ArrayWriter
from hydrarec.progress import Progress

_DTYPES = {"item": np.int32, "time": np.int64, "rating": np.float32}
_BATCH = 1 << 19
_SHARD, _MOST = 1 << 25, 16  # events that are sorted at a time; each shard is one more pass over all events


def write_arrays(
    connection: duckdb.DuckDBPyConnection,
    stages: Stages,
    folder: Path,
    user_table: pa.Table,
    merged: Merged,
    progress: Progress,
) -> None:
    """Write the arrays of the events of ``users`` and ``items``, a shard of users at a time, from where they end."""
    offsets = np.concatenate([[0], np.cumsum(user_table["events"].to_numpy())]).astype(np.int64)
    np.save(folder / "offsets.npy", offsets)
    (folder / "columns").mkdir(exist_ok=True)
    files = {name: folder / file for name, file in _files(merged).items()}
    done = stages.once("written", lambda: 0) if all(file.exists() for file in files.values()) else 0  # users
    for name in ("user", "item"):
        connection.execute(
            f"CREATE OR REPLACE TABLE {name}_rows AS "
            f"SELECT id, CAST(row_number() OVER (ORDER BY id) - 1 AS INTEGER) AS n FROM {name}s"
        )
    total, dtypes = int(offsets[-1]), {file: _DTYPES[name] for name, file in files.items()}
    shards = list(_shards(offsets))
    with ArrayWriter(dtypes, total, int(offsets[done])) as writer:
        for number, (first, end) in enumerate(shards, 1):
            if end <= done:
                continue
            which = f" {number} of {len(shards)}" if len(shards) > 1 else ""
            with watch(connection, progress, f"sort{which}"):
                reader = to_reader(
                    connection, _query(list(files), first, end), _BATCH
                )  # sorted: its first batch is there
            with progress.task(f"write{which}", total=int(offsets[end] - offsets[first])) as task:
                for batch in reader:
                    arrays = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in files}
                    # Whole seconds; sorting saw the full time.
                    arrays["time"] = np.floor_divide(arrays["time"], merged.per_second)
                    writer.append({file: arrays[name] for name, file in files.items()})
                    task.advance(len(batch))
            writer.sync()
            stages.note("written", end)


def take_arrays(work: Path, folder: Path, merged: Merged) -> None:
    """Move what was written in ``work`` to ``folder``."""
    (folder / "columns").mkdir(exist_ok=True)
    for file in ("offsets.npy", *_files(merged).values()):
        (work / file).rename(folder / file)


def _files(merged: Merged) -> dict[str, str]:
    """The file of each column but the users', whose is ``offsets.npy``."""
    extra = ["rating"] * merged.has_ratings
    return {"item": "items.npy", "time": "times.npy"} | {name: f"columns/{name}.npy" for name in extra}


def _shards(offsets: np.ndarray) -> Iterator[tuple[int, int]]:
    """Runs of users, about as many events in each."""
    count = min(_MOST, max(1, round(offsets[-1] / _SHARD)))
    ends = np.searchsorted(offsets, offsets[-1] * np.arange(1, count + 1) / count)
    first = 0
    for end in ends.tolist():
        if end > first:
            yield first, end
            first = end


def _query(columns: list[str], first: int, end: int) -> str:
    selected = ", ".join("item_rows.n AS item" if name == "item" else name for name in columns)
    return (
        f"SELECT {selected} FROM events JOIN (FROM user_rows WHERE n >= {first} AND n < {end}) AS user_rows "
        'ON events."user" = user_rows.id JOIN item_rows ON events.item = item_rows.id '
        "ORDER BY user_rows.n, time, row"
    )
