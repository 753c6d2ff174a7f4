"""``hydrarec simulate``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hydrarec.cli.options import Count, Json


def simulate(
    *,
    events: Count,
    users: Count,
    items: Count,
    out: Annotated[Path, Parameter(help="Parquet file to write.")],
    seed: Count = 0,
    days: Count = 30,
    new_items_per_day: Count = 0,
    json: Json = False,
) -> None:
    """Generate synthetic events, in order of time: popular and rare items, busy and idle users, and rules to learn.

    Parameters
    ----------
    events
        How many there are in the end.
    users
        How many there are in the end.
    items
        The catalog on the first day.
    seed
        The same one gives the same events.
    days
        How long the log is.
    new_items_per_day
        Items that join the catalog on every day after the first.
    """
    import time

    from hydrarec.cli.output import print_json, seconds
    from hydrarec.data.simulation.traffic import TrafficConfig, write_traffic
    from hydrarec.progress import reporter

    began = time.monotonic()
    config = TrafficConfig(n_events=events, n_users=users, n_items=items, new_items=new_items_per_day, days=days)
    found = write_traffic(config, out, seed=seed, progress=reporter(json))
    took = time.monotonic() - began
    if json:
        print_json({"out": str(out), **found, "bytes": out.stat().st_size, "seconds": round(took, 3)})
        return
    print(f"{out}: {found['events']:,} events, {found['users']:,} users, {found['items']:,} items, {seconds(took)}")
    print(f"next: hydrarec prepare {out} --out DATASET")
