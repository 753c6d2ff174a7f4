"""Seconds and peak memory of ``hydrarec.data.prepare`` on synthetic events, measured in a process of its own.

    python benchmarks/prepare.py --events 20000000 --format parquet --memory 2GB --threads 2
    python benchmarks/prepare.py --source events.parquet

Prints one JSON object.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

_CHUNK = 1_000_000


def make_events(path: Path, n_events: int, *, seed: int = 0) -> None:
    """Write events in random order: users and items with a heavy tail (about Zipf), times over four years."""
    rng = np.random.default_rng(seed)
    n_users, n_items = max(2, n_events // 100), max(2, n_events // 400)
    schema = pa.schema([("user_id", pa.int64()), ("item_id", pa.int64()), ("timestamp", pa.int64())])
    csv = path.suffix == ".csv"
    with pa.csv.CSVWriter(path, schema) if csv else pq.ParquetWriter(path, schema) as writer:
        for start in range(0, n_events, _CHUNK):
            n = min(_CHUNK, n_events - start)
            columns = [
                (n_users * rng.random(n) ** 2).astype(np.int64) * 7 + 1,
                (n_items * rng.random(n) ** 3).astype(np.int64) * 13 + 1,
                rng.integers(1_500_000_000, 1_626_000_000, n),
            ]
            writer.write_table(pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema))


def measure(source: Path, arguments: argparse.Namespace) -> dict[str, float | int | str]:
    """Run in the child: prepare once."""
    from hydrarec.data.prepare import prepare

    with tempfile.TemporaryDirectory(dir=source.parent if arguments.source is None else None) as folder:
        start = time.perf_counter()
        dataset = prepare(
            source,
            Path(folder) / "dataset",
            min_user=arguments.core,
            min_item=arguments.core,
            memory=arguments.memory,
            threads=arguments.threads,
        )
        seconds = time.perf_counter() - start
    return {
        "source": source.name,
        "source_bytes": source.stat().st_size,
        "users": dataset.n_users,
        "items": dataset.n_items,
        "events": dataset.n_events,
        "core": arguments.core,
        "threads": arguments.threads,
        "memory_limit": arguments.memory,
        "seconds": round(seconds, 2),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "fingerprint": dataset.fingerprint,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--format", choices=("parquet", "csv"), default="parquet")
    parser.add_argument("--source", type=Path, help="measure on this file instead of synthetic events")
    parser.add_argument("--core", type=int, default=1, help="min_user and min_item")
    parser.add_argument("--memory", default="2GB", help="limit given to prepare (the process needs more in all)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        print(json.dumps(measure(arguments.child, arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        source = arguments.source or Path(folder) / f"events.{arguments.format}"
        if arguments.source is None:
            make_events(source, arguments.events)
        # A fresh process, so that making the events does not count towards its peak memory.
        command = [sys.executable, __file__, *sys.argv[1:], "--child", str(source)]
        print(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())


if __name__ == "__main__":
    main()
