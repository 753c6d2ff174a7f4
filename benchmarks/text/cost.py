"""What it costs to be as good in four shops: one model, against one each.

    python benchmarks/text/cost.py

All with titles; whoever is in several shops is somebody else in each, so
that both sides are asked the same questions. The quality to reach in a shop
is 98 % of the best validation NDCG@10 that its own model of 6 epochs comes
to (mean over seeds). A model may be trained for 3 or 6 epochs: for each
side, the schedule counts that gets there at the least cost, read off the
validation curve between epochs.

R is the cost of the joint model, which must be good enough in every shop, as
a share of the sum over the shops' own models; R at lower qualities is shown
beside it. Vectors of titles are made once and for both sides alike; "titles
read too" adds that work (encode.py) to both.
At equal compute: the best that the joint model comes to with no more
operations than the four models took to their best. Run it again to go on;
results are in results/text-*-loo.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from common import compared, finish, options, run
from shops import SHOPS

from hydrarec.compare.show import figure
from hydrarec.evaluate.metrics import SELECTION_METRIC
from hydrarec.files import read_json
from hydrarec.progress import Cell, table

BUDGETS = (3, 6)  # epochs
SHARE = 0.98
LOWER = (0.8, 0.9, 0.95)
MOST = 0.6  # of R
UNITS = {"flops": "operations", "cpu_seconds": "CPU seconds", "seconds": "seconds"}
Record = dict[str, Any]


def main() -> None:
    given = options(__doc__).parse_args()
    results = compared(given, "cost.toml")
    names = {shop: {e: f"text-{shop}-{e}-loo" for e in BUDGETS} for shop in (*SHOPS, "four")}
    missing = [
        f"{shop}, {e} epochs"
        for shop, own in names.items()
        for e, name in own.items()
        if not results.whole(name, "text")
    ]
    if missing:
        found: dict[str, Any] = {"missing": missing}
    else:
        records = {shop: {e: results.records(name, "text") for e, name in own.items()} for shop, own in names.items()}
        together = records.pop("four")
        found = found_of(together, records)
        file = given.results / "text-titles.json"
        if file.exists():
            found["ratios"]["titles read too"] = with_titles(found, read_json(file, remedy="run encode.py again"))
    if not finish(given, found):
        show(found)


def points(record: Record, shop: str, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """(costs, NDCG@10 in the shop), each (n,), at every validation of a run; seconds leave out what validating took."""
    curve = np.array(record["curve"])  # (n, 4): epoch, NDCG@10, seconds, CPU seconds
    training = record["events"] / record["events_per_second"] / record["seconds"]  # the share of time
    costs = {"seconds": training * curve[:, 2], "cpu_seconds": training * curve[:, 3]}
    costs["flops"] = record["cost"]["flops"] * curve[:, 0] / record["epochs"]  # epochs are alike in their events
    return costs[unit], np.array(record["domain_curves"][shop])


def cost_to(costs: np.ndarray, shares: np.ndarray) -> float | None:
    """Cost at which the curves first come to one all together, each straight between its points; None: they never do.

    Args:
        costs: (n,); shares: (S, n) of what is asked in each of S shops: one set of weights must do for all.
    """
    there = np.flatnonzero((shares >= 1).all(axis=0))
    if not len(there):
        return None
    i = there[0]
    if i == 0:
        return float(costs[0])
    late = shares[:, i - 1] < 1
    before, after = shares[late, i - 1], shares[late, i]
    return float(costs[i - 1] + ((1 - before) / (after - before)).max() * (costs[i] - costs[i - 1]))


def cheapest(
    records: Mapping[int, Sequence[Record]], qualities: Mapping[str, float], unit: str
) -> tuple[float, int] | None:
    """(cost, epochs) of the schedule that is good enough in all shops of ``qualities`` at once, at the least cost.

    Costs are means over seeds; a schedule counts if all of them get there. None: there is none.
    """
    found = []
    for epochs, own in records.items():
        reached = [_cost_of(record, qualities, unit) for record in own]
        costs = [cost for cost in reached if cost is not None]
        if len(costs) == len(own):
            found.append((float(np.mean(costs)), epochs))
    return min(found, default=None)


def _cost_of(record: Record, qualities: Mapping[str, float], unit: str) -> float | None:
    curves = [(*points(record, shop, unit), q) for shop, q in qualities.items()]
    return cost_to(curves[0][0], np.array([values / q for _, values, q in curves]))


def found_of(together: Mapping[int, Sequence[Record]], alone: Mapping[str, Mapping[int, Sequence[Record]]]) -> Any:
    """Qualities, costs and ratios.

    Args:
        together: runs of all shops by epochs; alone: those of each shop.
    """
    best = {shop: _best(own[BUDGETS[-1]], shop) for shop, own in alone.items()}
    qualities = {shop: SHARE * value for shop, value in best.items()}
    own = {unit: {shop: cheapest(alone[shop], {shop: q}, unit) for shop, q in qualities.items()} for unit in UNITS}
    joint = {unit: cheapest(together, qualities, unit) for unit in UNITS}
    lower = {share: _ratio_at(share, best, together, alone) for share in LOWER}
    in_shop = {shop: cheapest(together, {shop: q}, "flops") for shop, q in qualities.items()}
    ratios = {UNITS[unit]: ratio(joint[unit], list(own[unit].values())) for unit in UNITS}
    spent = sum(_spent_to_best(found[BUDGETS[-1]]) for found in alone.values())
    return {
        "best": best,
        "qualities": qualities,
        "alone": own,
        "joint": joint,
        "joint_in_shop": in_shop,
        "ratios": ratios,
        "lower": lower,
        "equal": {"flops": spent, **at_most(together, spent, list(alone))},
        "met": None if ratios["operations"] is None else ratios["operations"] <= MOST,
    }


def _ratio_at(
    share: float,
    best: Mapping[str, float],
    together: Mapping[int, Sequence[Record]],
    alone: Mapping[str, Mapping[int, Sequence[Record]]],
) -> float | None:
    """R in operations where each shop's quality is a share of its own model's best."""
    qualities = {shop: share * value for shop, value in best.items()}
    own = [cheapest(alone[shop], {shop: q}, "flops") for shop, q in qualities.items()]
    return ratio(cheapest(together, qualities, "flops"), own)


def ratio(
    joint: tuple[float, int] | None, alone: Sequence[tuple[float, int] | None], extra: float = 0.0
) -> float | None:
    """Cost of one model over that of the others, ``extra`` added to both; None where one is never good enough."""
    if joint is None or any(each is None for each in alone):
        return None
    return (joint[0] + extra) / (sum(each[0] for each in alone if each is not None) + extra)


def with_titles(found: dict[str, Any], titles: dict[str, Any]) -> float | None:
    """R in operations with those of reading every title once, on both sides."""
    reading = titles["flops_per_token"] * sum(each["tokens"] for each in titles["shops"].values())
    return ratio(found["joint"]["flops"], list(found["alone"]["flops"].values()), reading)


def at_most(together: Mapping[int, Sequence[Record]], flops: float, shops: Sequence[str]) -> dict[str, Any]:
    """NDCG@10 by shop of the joint model within a cost: the epoch, and then the schedule, that are best over all."""
    best: tuple[float, dict[str, Any]] = (-1.0, {"epochs": None})
    for epochs, records in together.items():
        chosen = []
        for record in records:
            costs, _ = points(record, shops[0], "flops")
            inside = np.flatnonzero(costs <= flops)
            if len(inside):
                overall = np.array(record["curve"])[:, 1]
                place = int(inside[overall[inside].argmax()])
                chosen.append([overall[place], *(record["domain_curves"][shop][place] for shop in shops)])
        if len(chosen) == len(records):
            overall_mean, *means = np.mean(chosen, axis=0).tolist()
            best = max(
                best, (overall_mean, {"epochs": epochs, **dict(zip(shops, means, strict=True))}), key=lambda x: x[0]
            )
    return best[1]


def _best(records: Sequence[Record], shop: str) -> float:
    return float(np.mean([max(record["domain_curves"][shop]) for record in records]))


def _spent_to_best(records: Sequence[Record]) -> float:
    return float(np.mean([record["cost"]["flops"] * record["best_epoch"] / record["epochs"] for record in records]))


def show(found: dict[str, Any]) -> None:
    if "missing" in found:
        print(f"runs are missing: {'; '.join(found['missing'])}")
        return
    rows: list[list[Cell]] = []
    for shop, quality in found["qualities"].items():
        own, joint = found["alone"]["flops"][shop], found["joint_in_shop"][shop]
        equal = found["equal"].get(shop)
        cells = [f"{found['best'][shop]:.4f}", f"{quality:.4f}", *_cells(own), *_cells(joint)]
        rows.append([shop, *cells, "" if equal is None else figure(equal)])
    names = ["", "best alone", "quality", "alone", "epochs", "joint", "epochs", "joint, equal"]
    table(f"validation {SELECTION_METRIC}, and 10^12 operations to the quality", names, rows)
    print(f"joint, in every shop: {' of '.join(_cells(found['joint']['flops']))} epochs")
    print(f"joint, equal: within {found['equal']['flops'] / 1e12:,.0f} x 10^12 operations, what all alone took to best")
    for name, value in found["ratios"].items():
        print(f"R, {name}: {_said(value)}")
    for share, value in found["lower"].items():
        print(f"R, operations, at {share:.0%} of the best alone: {_said(value)}")
    print({None: "not reached", True: "reached", False: "not reached"}[found["met"]])


def _said(ratio: float | None) -> str:
    return "a side is never good enough" if ratio is None else f"{ratio:.3f}"


def _cells(cost: tuple[float, int] | None) -> list[str]:
    return ["never", "-"] if cost is None else [f"{cost[0] / 1e12:,.0f}", str(cost[1])]


if __name__ == "__main__":
    run(main)
