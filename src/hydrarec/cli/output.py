"""How commands print: one JSON object, or text for people."""

import json
import textwrap
from collections.abc import Mapping
from typing import Any

from hydrarec.data.protocol import Protocol
from hydrarec.progress import table


def print_json(value: dict[str, Any]) -> None:
    """The one object on standard output."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False, default=str))


def print_metrics(protocol: Protocol, part: str, results: dict[str, Any]) -> None:
    """Metrics with their intervals, under the protocol they were measured by."""
    from hydrarec.evaluate.groups import has_domains

    print(f"protocol: {protocol.describe(domains=has_domains(results['groups']))}")
    metrics, intervals = results["metrics"], results["intervals"]

    def interval(name: str) -> str:
        low, high = intervals[name]
        return f"{low:.4f} to {high:.4f}"

    rows: list[list[str | int | float]] = []
    for k in protocol.cutoffs:
        names = f"HR@{k}", f"NDCG@{k}"
        rows.append([k, *(cell for name in names for cell in (metrics[name], interval(name)))])
    title = f"{part}: {results['users']:,} users, {results['queries']:,} targets"
    table(title, ["k", "HR@k", "95 % interval", "NDCG@k", "95 % interval"], rows)
    others = ", ".join(
        f"{name} {value:.4f}" for name, value in metrics.items() if "@" in name and name not in intervals
    )
    print(f"MRR {metrics['MRR']:.4f} ({interval('MRR')}), {others}")
    if results["sees_request_time"]:
        print("the model sees the time of the request, as a server does: compare it with others that do")


def print_groups(protocol: Protocol, title: str, groups: Mapping[str, dict[str, float]]) -> None:
    """Targets, HR and NDCG at 10, or the largest cut-off, of groups of targets."""
    k = 10 if 10 in protocol.cutoffs else protocol.cutoffs[-1]
    shown = (f"HR@{k}", f"NDCG@{k}")
    rows: list[list[str | int | float]] = [
        [name, int(group["queries"]), *(group[metric] for metric in shown)] for name, group in groups.items()
    ]
    print()
    table(title, [title.removeprefix("by "), "targets", *shown], rows)


def print_plan(config: Any, plan: Any, taken: dict[str, float] | None) -> None:
    """A plan of a catalog (``items.plan``), and the seconds of a billion events."""
    shown = [[name, _gigabytes(size), "yes" if name == plan.encoder else ""] for name, size in plan.encoders.items()]
    memory = f"{config.gpu_memory / 1e9:,.0f} GB"
    table(f"{config.items:,} items of width {config.dim}", ["encoder", f"on each GPU ({memory})", "planned"], shown)
    print()
    parts = [[name.removesuffix("_bytes"), _gigabytes(size)] for name, size in plan.parts.items()]
    table(f"{plan.encoder} (items.storage={plan.storage})", ["part", "memory, each row once"], parts)
    print(f"the id map and the index ({plan.index}) lie in a server's memory, beside the weights")
    print(f"each GPU sends {plan.traffic_bytes_per_step / 1e6:,.1f} MB a step of {config.events:,} events")
    for part, value in (taken or {}).items():
        print(f"a billion events take {seconds(value)} for the {part}, at the rate of this CPU")
    if not plan.fits:
        print("it does not fit: item vectors should take at most 80 % of a GPU's memory")


def _gigabytes(size: float) -> str:
    """To stand below others."""
    return f"{size / 1e9:9,.2f} GB"


def print_day(run: Any, day: Any) -> None:
    """What came of a day that a run went on with (``train.stream``)."""
    figures = {name: value for name, value in day.metrics.items() if name in ("HR@10", "NDCG@10", "MRR")}
    shown = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
    print(f"{run.path}: {day.events:,} events of {day.users:,} users in {seconds(day.seconds)}")
    print(f"before they were learned: {shown}" if shown else "nobody of these users had an event before")
    print(f"items: {day.items:,} rows, {day.new:,} new ids, {day.evicted:,} of them in rows of evicted ones")
    print(f"days since their last event: median {day.age['median']:.1f}, most {day.age['max']:.1f}")


def print_facts(facts: dict[str, Any], width: int = 78) -> None:
    """Values by name, one below the other; a table of values within a line or a few, as ``name: value`` pairs."""
    indent = max(map(len, facts), default=0) + 2
    for name, value in facts.items():
        text = "\n".join(textwrap.wrap(_plain(value), width - indent, break_long_words=False)) or "-"
        print(f"{name:{indent}}{textwrap.indent(text, ' ' * indent).lstrip()}")


def _plain(value: Any) -> str:
    if isinstance(value, dict):  # a name and its value stay on one line
        return ", ".join(f"{name}:\xa0{_plain(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return "\xa0".join(map(_plain, value))
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def seconds(value: float) -> str:
    """A duration as people say it."""
    if value < 90:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
