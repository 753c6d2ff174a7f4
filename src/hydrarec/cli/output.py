"""How commands print: one JSON object, or text for people."""

import json
import sys
from typing import Any

from hydrarec.data.protocol import Protocol
from hydrarec.progress import table


def print_json(value: dict[str, Any]) -> None:
    """The one object on standard output."""
    json.dump(value, sys.stdout, ensure_ascii=False, default=str)
    sys.stdout.write("\n")


def print_metrics(protocol: Protocol, part: str, users: int, results: dict[str, Any]) -> None:
    """Metrics with their intervals, under the protocol they were measured by."""
    print(f"protocol: {protocol.describe()}")
    intervals = results.get("intervals", {})
    rows = []
    for name, value in results["metrics"].items():
        low, high = intervals.get(name, (None, None))
        rows.append([name, f"{value:.4f}", "" if low is None else f"{low:.4f} to {high:.4f}"])
    table(f"{part}, {users:,} users", ["metric", "mean", "95 % interval"], rows)


def seconds(value: float) -> str:
    """A duration as people say it."""
    if value < 90:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
