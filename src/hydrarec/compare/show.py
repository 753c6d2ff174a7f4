"""Tables for a terminal of 80 columns."""

from hydrarec.compare.assemble import Assembled
from hydrarec.compare.rows import Row
from hydrarec.progress import Cell, table


def print_tables(tables: list[Assembled]) -> None:
    """Each table in two: how accurate, and at what cost."""
    for each in tables:
        counts = each.data
        print(f"\n{each.name}: {each.protocol}")
        print(f"{counts['users']:,} users, {counts['items']:,} items, {counts['events']:,} events; ", end="")
        print(f"{each.targets['queries']:,} {each.part_name} targets; data {each.fingerprint[:16]}")
        several = len(each.machines) > 1
        names = ["", "HR@10", "NDCG@10", "+-", "95 %", "rival", "p", *(["on"] * several)]
        table("", names, [[*_accuracy(row), *([each.machines_of(row)] * several)] for row in each.rows])
        names = ["", "encoder", "items", "s to best", "CPU s", "events/s", "MiB"]
        table("", names, [_cost(row) for row in each.rows])
        if rivals := rivals_of(each.rows):
            print(f"rival: {rivals}, the best on {each.rivals_by} of what is not ours")
        if any(row.sees_request_time for row in each.rows):
            print("*: sees the time of the request")
        if any(row.former for row in each.rows):
            print("~: measured before the model was changed, and to be run again")
        for number, machine in enumerate(each.machines, 1):
            print(f"{number}: {machine}" if several else machine)
        if each.missing:
            print(f"missing: {len(each.missing)} runs, such as {each.missing[0]}")


def rivals_of(rows: list[Row]) -> str:
    """Labels of what rows are held against."""
    return ", ".join(dict.fromkeys(row.rival for row in rows if row.rival))


def _accuracy(row: Row) -> list[Cell]:
    low, high = row.intervals["NDCG@10"]
    return [
        _name(row),
        figure(row.metrics["HR@10"]),
        figure(row.metrics["NDCG@10"]),
        figure(row.spread["NDCG@10"]) if row.spread else "",
        f"{figure(low)}-{figure(high)}",
        "" if row.difference is None else f"{row.difference:+6.1%}",
        "" if row.p is None else f"{p_value(row.p):>5}",
    ]


def _cost(row: Row) -> list[Cell]:
    costs = row.costs
    return [
        _name(row),
        int(costs["encoder"]),
        int(costs["items"]),
        round(costs["seconds_to_best"]),
        round(costs["cpu_seconds_to_best"]),
        round(costs["events_per_second"]),
        round(costs["peak_memory_bytes"] / 2**20),
    ]


def _name(row: Row) -> str:
    return row.label + "*" * row.sees_request_time + "~" * row.former


def figure(value: float) -> str:
    """Four places, without the zero before the point."""
    return f"{value:.4f}".removeprefix("0")


def p_value(p: float) -> str:
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")
