"""What RecTools may see of a data set under a protocol, as Parquet.

    python benchmarks/rectools/export.py DATASET --protocol hstu --out runs/rectools/ml-1m-hstu

The folder gets ``events.parquet`` (user, item, time: rows of ours, and seconds), a user's events together and in our
order, which a stable sort by time keeps; ``requests.parquet`` (user, time), one row a test target, in our order; and
``about.json``. Every event before the target of its user is there, and no other.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hydrarec.data.protocol import Protocol
from hydrarec.data.split import split
from hydrarec.data.store import Dataset
from hydrarec.data.stretches import places
from hydrarec.errors import InputError
from hydrarec.evaluate.queries import users_of
from hydrarec.files import whole_folder, write_json


def export(dataset: Dataset, protocol: Protocol, out: Path) -> None:
    """Write the folder ``out``.

    Where the events have no times, ``time`` is an event's number in its history.

    Raises:
        InputError: protocol ``time``, whose validation RecTools cannot do, or ``out`` exists.
    """
    if protocol.split == "time":
        raise InputError("RecTools validates on the last event of a history; choose protocol loo or hstu")
    targets = split(dataset, protocol).test
    users, offsets = users_of(dataset, targets), np.asarray(dataset.offsets)
    ends = offsets[1:].copy()
    ends[users] = targets
    where, kept = places(offsets[:-1], ends)
    owners = np.repeat(np.arange(dataset.n_users), np.diff(kept))
    times = (
        np.asarray(dataset.times)
        if dataset.has_times
        else np.arange(dataset.n_events) - np.repeat(offsets[:-1], np.diff(offsets))
    )
    with whole_folder(out) as folder:
        events = {"user": owners, "item": np.asarray(dataset.items)[where].astype(np.int64), "time": times[where]}
        pq.write_table(pa.table(events), folder / "events.parquet")
        pq.write_table(pa.table({"user": users, "time": times[targets]}), folder / "requests.parquet")
        write_json(folder / "about.json", about(dataset, protocol))


def about(dataset: Dataset, protocol: Protocol) -> dict[str, Any]:
    """What tells one export from another."""
    return {
        "fingerprint": dataset.fingerprint,
        "protocol": {**protocol.to_dict(), "cutoffs": list(protocol.cutoffs)},
        "items": dataset.n_items,
        "has_times": dataset.has_times,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="a folder that hydrarec prepare made")
    parser.add_argument("--protocol", choices=("loo", "hstu"), required=True)
    parser.add_argument("--exclude-seen", action="store_true", help="as the table has it; protocol hstu does anyway")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    changes = {"exclude_seen": True} if given.exclude_seen else {}
    export(Dataset.open(given.dataset), Protocol.named(given.protocol, **changes), given.out)


if __name__ == "__main__":
    main()
