"""What a load has measured, as values and as text."""

from typing import Any

from hydrarec.load.counts import Counts
from hydrarec.load.server import Reading
from hydrarec.progress import table

_CORES = 2


def measured(
    counts: Counts, users: int, seconds: float, *, cpu: float, before: Reading, after: Reading
) -> dict[str, Any]:
    """Args:
    seconds: on the clock. cpu: of this process, in that time.
    before, after: of the server.
    """
    kinds = {name: kind.to_dict() for name, kind in sorted(counts.kinds.items())}
    pairs = kinds.get("pair", {}).get("good", 0)
    found = {
        "users": users,
        "seconds": round(seconds, 2),
        "pairs": pairs,
        "pairs_per_second": round(pairs / seconds, 1),
        "requests": kinds,
        "cpu_ms_per_pair": {"server": None, "load": None},
        "pairs_per_cpu_second": None,
    }
    if pairs and before.cpu_seconds is not None and after.cpu_seconds is not None:
        server = after.cpu_seconds - before.cpu_seconds
        found["cpu_ms_per_pair"] = {"server": round(1000 * server / pairs, 3), "load": round(1000 * cpu / pairs, 3)}
        found["pairs_per_cpu_second"] = round(pairs / (server + cpu), 1)
    return found


def print_load(report: dict[str, Any]) -> None:
    """A table of requests, and what they cost."""
    names = ["good", "refused", "failed", "p50_ms", "p95_ms", "p99_ms", "max_ms"]
    rows = [[kind, *(_cell(found[name]) for name in names)] for kind, found in report["requests"].items()]
    table("", ["request", *(name.replace("_", " ") for name in names)], rows)
    print(f"\n{report['pairs']:,} pairs in {report['seconds']:.1f} s: {report['pairs_per_second']:,.1f} a second")
    if (speed := report["pairs_per_cpu_second"]) is not None:
        cpu = report["cpu_ms_per_pair"]
        print(f"CPU of a pair: {cpu['server']:.2f} ms by the server, {cpu['load']:.2f} ms by the load")
        print(f"{_CORES} cores with nothing else to do: at most {_CORES * speed:,.0f} pairs a second")
    if "soak" in report:
        print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in report["soak"].items()))
    if (memory := report.get("memory")) and memory["growth"] is not None:
        print(
            f"memory: {memory['begin_mb']:,.0f} MB, {memory['middle_mb']:,.0f} in the middle, {memory['end_mb']:,.0f} "
            f"at the end: {memory['growth']:+.1%} in the second half"
        )
    items = report["items"]
    if items["known"] is not None and items["known"] < items["asked"]:
        print(f"the server has {items['known']} of {items['asked']} items drawn from the data: others cost it less")
    for why, times in report["failures"].items():
        print(f"failed {times:,} times: {why}")


def _cell(value: float | None) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None else f"{value:,.1f}"
