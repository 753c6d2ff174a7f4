"""One model with titles for several shops, against one by id for each shop.

    python benchmarks/text/joint.py      # two shops, four shops, ablations
    python benchmarks/text/joint.py two --jobs 2

Targets are paired: the same person and the same item, the last one in the
shop and in all shops. NDCG@10, means over seeds; p of a paired permutation
test over people: joint with titles against by id alone. Ablations are
measured on the validation split. Run it again to go on; results are in
results/text-*-loo.
"""

from typing import Any

import numpy as np
from common import Results, asked, compared, finish, options, run, values_of
from shops import shops_of
from targets import Targets, shared

from hydrarec.compare.show import figure, p_value
from hydrarec.compare.significance import paired_p
from hydrarec.progress import Cell, table

FEW = 5  # events of a user
PARTS = ("two", "four", "ablation")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; without any, all")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"there is no part {sorted(unknown)[0]!r}; there are {', '.join(PARTS)}")
    parts = given.parts or PARTS
    rows: list[dict[str, Any]] = []
    whole = True
    for together in (part for part in parts if part != "ablation"):
        shops = shops_of(together)
        alone = compared(given, "alone.toml", [f"text-{shop}-loo" for shop in shops])
        joint = compared(given, "joint.toml", [f"text-{together}-loo"])
        targets = asked(together)
        both = figures(joint, f"text-{together}-loo", targets)
        for shop in shops:
            own = asked(shop)
            whole &= alone.whole(f"text-{shop}-loo", "id") and joint.whole(f"text-{together}-loo", "text")
            single = figures(alone, f"text-{shop}-loo", own)
            rows += [{"shops": together, "shop": shop, **row} for row in paired(own, single, targets, both)]
    changes = ablated(compared(given, "ablation.toml")) if "ablation" in parts else []
    met = {group: reached(rows, group) if whole else None for group in ("few", "all")}
    if not finish(given, {"rows": rows, "ablation": changes, "met": met}):
        show(rows, changes, met)


def figures(results: Results, name: str, targets: Targets) -> dict[str, np.ndarray]:
    """(Q,) NDCG@10 of each target, mean over seeds, by those of the labels that have a result."""
    records = {label: results.records(name, label) for label in ("id", "text")}
    return {label: values_of(own, targets) for label, own in records.items() if own}


def paired(
    own: Targets, single: dict[str, np.ndarray], targets: Targets, both: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Rows for users with at most ``FEW`` events in the shop, and for all.

    Args:
        own, single: what is asked in the shop alone, and (Q,) figures by label.
        targets, both: the same for all shops together.
    """
    here, there = shared(own, targets)
    values = {f"{label}_alone": each[here] for label, each in single.items()}
    values |= {f"{label}_joint": each[there] for label, each in both.items()}
    users = own.users.take(here).dictionary_encode().indices.to_numpy()
    found = []
    for group, inside in (("few", own.events[here] <= FEW), ("all", np.ones(len(here), bool))):
        row: dict[str, Any] = {"group": group, "targets": int(inside.sum()), "of": len(own.events)}
        row |= {name: float(each[inside].mean()) for name, each in values.items()}
        if {"text_joint", "id_alone"} <= set(values):
            row["change"] = row["text_joint"] / row["id_alone"] - 1 if row["id_alone"] else None
            row["p"] = paired_p(values["text_joint"][inside], values["id_alone"][inside], users[inside])
        found.append(row)
    return found


def reached(rows: list[dict[str, Any]], group: str) -> bool | None:
    """Few: better in every shop, p below .05. All: in none worse. None: runs are missing."""
    own = [row for row in rows if row["group"] == group]
    if not own or any("p" not in row for row in own):
        return None
    better = [row["text_joint"] >= row["id_alone"] for row in own]
    return all(better) and all(row["p"] < 0.05 for row in own) if group == "few" else all(better)


def ablated(results: Results) -> list[dict[str, Any]]:
    """A row for each model that has a result."""
    own = [(model, results.records("text-ablation-loo", model.label)) for model in results.plan.spec.model]
    return [{"label": model.label, "title": model.title, **validation(each)} for model, each in own if each]


def validation(records: list[dict[str, Any]]) -> dict[str, Any]:
    """NDCG@10 on the validation split, mean and standard deviation over seeds, and by domain."""
    values = [found["metrics"]["NDCG@10"] for found in records]
    groups = [found["groups"] for found in records]
    domains = [name for name in groups[0] if name.startswith("domain ")]
    return {
        "seeds": len(values),
        "mean": float(np.mean(values)),
        "spread": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        **{name.removeprefix("domain "): float(np.mean([g[name]["NDCG@10"] for g in groups])) for name in domains},
    }


def show(rows: list[dict[str, Any]], changes: list[dict[str, Any]], met: dict[str, bool | None]) -> None:
    titles = {"few": f"users with at most {FEW} events in the shop", "all": "all users"}
    for group, title in titles.items():
        names = ["NDCG@10", "targets", "alone", "+titles", "joint", "+titles", "change", "p"]
        shown = [_cells(row) for row in rows if row["group"] == group]
        if shown:
            table(title, names, shown)
            print({None: "runs are missing", True: "reached", False: "not reached"}[met[group]] + "\n")
    if changes:
        named = [name for name in changes[0] if name not in ("label", "title", "seeds", "mean", "spread")]
        lines = [
            [row["title"], row["seeds"], figure(row["mean"]), figure(row["spread"]) if row["spread"] else ""]
            + [figure(row[name]) for name in named]
            for row in changes
        ]
        table("ablation, validation NDCG@10", ["", "seeds", "all", "+-", *named], lines)


def _cells(row: dict[str, Any]) -> list[Cell]:
    sides = [row.get(name) for name in ("id_alone", "text_alone", "id_joint", "text_joint")]
    change = row.get("change")
    return [
        f"{row['shops']}, {row['shop']}",
        row["targets"],
        *("" if each is None else figure(each) for each in sides),
        "" if change is None else f"{change:+.1%}",
        p_value(row["p"]) if "p" in row else "",
    ]


if __name__ == "__main__":
    run(main)
