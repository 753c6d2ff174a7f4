"""``hydrarec prepare``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hydrarec.cli.options import Columns, Json, Out, ProtocolChoice

_COLUMNS, _PROTOCOL = Columns(), ProtocolChoice()


def prepare(
    source: str,
    *,
    out: Out,
    columns: Columns = _COLUMNS,
    protocol: ProtocolChoice = _PROTOCOL,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Turn a table of events into a data set folder.

    Parameters
    ----------
    source
        CSV, TSV, Parquet, JSON lines (plain, gzip or zstd), or a RecBole .inter file.
    overwrite
        Replace an existing folder.
    """
    import time

    from hydrarec.cli.output import print_json, seconds
    from hydrarec.data.prepare import prepare as make
    from hydrarec.data.protocol import Protocol
    from hydrarec.data.split import leakage_warning, split
    from hydrarec.progress import say

    began = time.monotonic()
    chosen = Protocol.named(protocol.protocol or "time", **protocol.fields())
    if (warning := leakage_warning(chosen)) is not None:
        say(f"warning: {warning}")
    dataset = make(source, Path(out), protocol=chosen, overwrite=overwrite, log=say, **columns.given())
    took = time.monotonic() - began
    if json:
        print_json(
            {
                "dataset": str(out),
                "users": dataset.n_users,
                "items": dataset.n_items,
                "events": dataset.n_events,
                "protocol": chosen.split,
                "fingerprint": dataset.fingerprint,
                "seconds": round(took, 3),
                "statistics": dataset.statistics,
            }
        )
        return
    parts = split(dataset)
    print(f"{out}: {dataset.n_users:,} users, {dataset.n_items:,} items, {dataset.n_events:,} events, {seconds(took)}")
    print(f"protocol: {chosen.describe()}")
    print(f"targets: {len(parts.valid):,} to validate, {len(parts.test):,} to test")
    print(f"fingerprint: {dataset.fingerprint[:16]}")
    print(f"next: hydrarec train {out} --out RUN")
