"""Items that nobody has clicked: how often are they found among all?

    python benchmarks/text/cold.py       # four shops
    python benchmarks/text/cold.py two

5 % of each catalog, chosen by a hash of the id, have no event in training.
HR@10 of the test targets that are such items, over the shop's whole catalog.
Beside Hydra: popularity; popularity before the events were removed; the
items whose titles are most like those of the history; and chance. p of a
paired permutation test against the nearest titles. Run it again to go on;
results are in results/text-cold-*-loo.
"""

import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import numpy as np
from common import RECIPE, asked, compared, finish, options, progress_of, run, values_of
from nearest import NearestTitle
from shops import is_cold, made
from targets import Targets

from hydrarec.compare.record import of_queries
from hydrarec.compare.show import figure, p_value
from hydrarec.compare.significance import paired_p
from hydrarec.compare.version import code_version
from hydrarec.data.split import split
from hydrarec.data.store import Dataset
from hydrarec.evaluate.evaluate import evaluate
from hydrarec.files import read_json, write_json
from hydrarec.machine import machine
from hydrarec.models.contract import Model
from hydrarec.models.popularity import Popularity, PopularityConfig
from hydrarec.progress import Cell, counter, table
from hydrarec.train.settings import Settings, resolve

TRAINED = ("titles", "both", "id", "popularity")
BASELINES = {"popularity-before": "popular before", "nearest-title": "nearest titles"}
FOUND = "both"  # the row that is to be best; on the validation split it is better than titles alone
TIMES = 5  # as good as popularity


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("shops", nargs="?", default="four", choices=("two", "four"))
    given = parser.parse_args()
    name = f"cold-{given.shops}"
    compared(given, "cold.toml", [f"text-{name}-loo"], ["popularity"])  # makes the data; what is quick comes first
    baselines = {label: [found] for label in BASELINES if (found := baseline(given, name, label))}
    results = compared(given, "cold.toml", [f"text-{name}-loo"])
    records = {label: results.records(f"text-{name}-loo", label) for label in TRAINED} | baselines
    targets = asked(name)
    figures = {label: values_of(own, targets, "hr10") for label, own in records.items() if own}
    titles = {model.label: model.title or model.label for model in results.plan.spec.model} | BASELINES
    rows = [chance(Dataset.open(made(name)), targets)]
    nearest = figures.get("nearest-title")
    for label, each in figures.items():
        rows.append({"label": label, "title": titles[label], "seeds": len(records[label])})
        rows[-1] |= of_cold(targets, each, nearest)
    whole = all(results.whole(f"text-{name}-loo", label) for label in TRAINED)
    met = reached({row["label"]: row for row in rows}) if whole else None
    if not finish(given, {"rows": rows, "met": met}):
        show(rows, met)


def baseline(given: Namespace, name: str, label: str) -> dict[str, Any] | None:
    """The result of a baseline, from its file, or measured now; None where only what is there is to be shown."""
    file = given.results / f"text-{name}-loo" / f"{label}.json"
    if file.exists():
        found: dict[str, Any] = read_json(file, remedy="delete it to run again")
        return found
    if given.show:
        return None
    dataset = Dataset.open(made(name))
    make: dict[str, Callable[[], Model]] = {
        "popularity-before": lambda: _counted(Dataset.open(made(given.shops))),
        "nearest-title": lambda: NearestTitle.of(dataset, _settings().items.text, progress_of(given)),
    }
    about = {"table": f"text-{name}-loo", "model": label, "dataset": f"text-{name}", "commit": code_version()}
    write_json(file, about | measured(make[label](), dataset, given))
    return baseline(given, name, label)


def measured(model: Model, dataset: Dataset, given: Namespace) -> dict[str, Any]:
    """A model that is not trained on the test split of ``dataset``, as ``hydrarec.compare.record`` has it."""
    parts, began = split(dataset), time.process_time()
    with progress_of(given).task(model.name, total=len(parts.test), unit="targets") as task:
        found = evaluate(
            model,
            dataset,
            parts.test,
            protocol=dataset.protocol,
            train_ends=parts.train_ends,
            max_len=_settings().train.reads,
            progress=counter(task),
        )
    return {
        "seed": None,
        "fingerprint": dataset.fingerprint,
        "protocol_fields": dataset.protocol.to_dict(),
        "parameters": {"items": 0, "encoder": 0},
        "cpu_seconds": time.process_time() - began,
        "machine": machine(),
        **found.to_dict(),
        **of_queries(found.greater, found.ties),
        "query_users": None,
    }


def _settings() -> Settings:
    return resolve(recipe=RECIPE)[0]


def _counted(whole: Dataset) -> Popularity:
    return Popularity.fit(PopularityConfig(), whole, split(whole))


def of_cold(targets: Targets, values: np.ndarray, nearest: np.ndarray | None) -> dict[str, Any]:
    """HR@10 (Q,) of cold targets by shop and in ``all``, of the ``others``, and p against the nearest titles' (Q,)."""
    cold = is_cold(targets.items)
    row = {name: float(values[cold & (targets.domains == name)].mean()) for name in np.unique(targets.domains[cold])}
    row |= {"all": float(values[cold].mean()), "others": float(values[~cold].mean()), "targets": int(cold.sum())}
    if nearest is None or nearest is values:
        return row
    users = targets.users.dictionary_encode().indices.to_numpy()
    return row | {"p": paired_p(values[cold], nearest[cold], users[cold])}


def chance(dataset: Dataset, targets: Targets) -> dict[str, Any]:
    """The row of a random order of each shop's catalog."""
    names, codes = dataset.domains, dataset.item_domains
    sizes = dict(zip(names, np.bincount(codes) if codes is not None else (), strict=True))
    values = np.array([10 / sizes[name] for name in targets.domains])
    return {"label": "chance", "title": "chance", "seeds": None, **of_cold(targets, values, None)}


def reached(rows: dict[str, dict[str, Any]]) -> bool | None:
    """Whether ``FOUND`` is above the nearest titles and ``TIMES`` as good as popularity, whichever way it counts, as
    ids alone, and as chance. None: runs are missing."""
    below = ["popularity", "popularity-before", "id", "chance"]
    if {FOUND, "nearest-title", *below} - set(rows):
        return None
    best = float(rows[FOUND]["all"])
    return best > rows["nearest-title"]["all"] and all(best >= TIMES * rows[label]["all"] for label in below)


def show(rows: list[dict[str, Any]], met: bool | None) -> None:
    fixed = ("label", "title", "seeds", "all", "others", "targets", "p")
    shops = [name for name in rows[0] if name not in fixed]
    shown: list[list[Cell]] = []
    for row in rows:
        values = [figure(row[name]) for name in (*shops, "all", "others")]
        shown.append([row["title"], *values, p_value(row["p"]) if "p" in row else ""])
    table(f"HR@10 of {rows[0]['targets']:,} targets that are cold items", ["", *shops, "all", "others", "p"], shown)
    print({None: "runs are missing", True: "reached", False: "not reached"}[met])


if __name__ == "__main__":
    run(main)
