"""A shop left out, then adapted to with few of its users.

    python benchmarks/text/transfer.py               # each shop in turn
    python benchmarks/text/transfer.py beauty --jobs 2

A model of the other three shops, with titles, is adapted to 1, 5 and 10 % of
the shop's users in each mode of `hydrarec adapt`. Beside it: the same model
from scratch on the same users, with titles and by id. Weights, the better of
two rates (with the first seed) and the mode are chosen on the validation
events of these users. NDCG@10 of the last event of all users in none of the
shares; p of a paired permutation test over them. Run it again to go on;
results are in results/text-transfer-*.
"""

import hashlib
import json
import os
import shutil
import tomllib
from argparse import Namespace
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from common import RECIPE, asked, compared, finish, options, progress_of, run, values_of
from shops import PROTOCOL, SHARES, SHOPS, made
from targets import Targets

from hydrarec.compare.pool import threads_of
from hydrarec.compare.record import of_queries, record
from hydrarec.compare.show import figure, p_value
from hydrarec.compare.significance import paired_p
from hydrarec.compare.version import code_version
from hydrarec.data.split import split
from hydrarec.data.store import Dataset
from hydrarec.errors import HydrarecError, InputError
from hydrarec.evaluate.evaluate import evaluate
from hydrarec.evaluate.metrics import SELECTION_METRIC
from hydrarec.files import read_json, write_json
from hydrarec.progress import Cell, Silent, table
from hydrarec.train.adapt import adapt
from hydrarec.train.run import Run
from hydrarec.train.settings import resolve
from hydrarec.train.start import hash_of_weights
from hydrarec.train.train import train

MODES = ("zero-shot", "head", "adapter", "full")
SCRATCH = ("scratch", "scratch-id")
SEEDS = (1, 2, 3)
RATES = (1e-3, 4e-3)
EPOCHS = {1: 60, 5: 30, 10: 20}  # by share: steps grow with the users, and not as much
# Small batches, for there are few events: 1 % of Beauty's users have 1,500.
SET = ("train.batch_events=256", "train.patience=5", "loss.precision=bfloat16")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training on ``share`` percent of a shop's users.

    Attributes:
        arm: one of ``MODES`` or ``SCRATCH``.
        rate: 0 where nothing learns.
        start: folder of the run to adapt; None from scratch.
        test: whether it is measured on the users of no share; else it is a trial of ``rate``.
    """

    shop: str
    arm: str
    share: int
    seed: int
    rate: float
    start: str | None
    test: bool
    results: Path
    runs: Path

    @property
    def folder(self) -> Path:
        """Another one for another recipe or another start, so that nothing goes on from what it was not."""
        name = f"{self.arm}-{self.share}-{self.seed}-{self.rate:g}-{recipe_hash()}"
        name += f"-{_weights(self.start)}" if self.start else ""
        return self.runs / f"text-transfer-{self.shop}" / name

    @property
    def file(self) -> Path:
        name = f"{self.arm}-{self.share}-{self.seed}" if self.test else f"tuning/{self.arm}-{self.share}-{self.rate:g}"
        return self.results / f"text-transfer-{self.shop}" / f"{name}.json"

    @property
    def overrides(self) -> list[str]:
        own = [f"train.lr={self.rate:g}"] if self.rate else []
        own += ["items.kind=table"] if self.arm == "scratch-id" else []
        return [*SET, f"train.epochs={EPOCHS[self.share]}", *own]

    def result(self) -> dict[str, Any] | None:
        """What the file says; None where there is none.

        Raises:
            InputError: it was made with other settings, another recipe, or from other weights.
        """
        if not self.file.exists():
            return None
        found: dict[str, Any] = read_json(self.file, remedy="delete it to run again")
        there = {key: found.get(key) for key in ("overrides", "recipe_hash", "start")}
        asked = {"overrides": self.overrides, "recipe_hash": recipe_hash()}
        if there != asked | {"start": _weights(self.start) if self.start else there["start"]}:
            raise InputError(f"{self.file} was made with other settings; delete it to run again")
        return found


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("shops", nargs="*", metavar="SHOP", help=f"of {', '.join(SHOPS)}; without any, all")
    given = parser.parse_args()
    if unknown := set(given.shops) - set(SHOPS):
        parser.error(f"there is no shop {sorted(unknown)[0]!r}; there are {', '.join(SHOPS)}")
    rows: list[dict[str, Any]] = []
    for shop in given.shops or SHOPS:
        starts: dict[int, str] = {}
        if not given.show and not complete(given, shop):
            starts = pretrained(given, shop)
            made(f"rest-{shop}")
            for share in SHARES:
                made(f"adapt-{shop}-{share}")
            perform(given, trials(given, shop, starts))
            perform(given, finals(given, shop, starts))
        rows += rows_of(finals(given, shop, starts), asked(f"rest-{shop}"))
    met = reached(rows)
    if not finish(given, {"rows": rows, "met": met}):
        show(rows, met)


def complete(given: Namespace, shop: str) -> bool:
    """Whether all results are there: then the runs that they started from are not needed."""
    jobs = [*trials(given, shop, {}), *finals(given, shop, {})]
    return all(job.result() is not None for job in jobs)


@cache
def recipe_hash() -> str:
    """Of the sections of ``RECIPE`` that say what is trained; the others are ``SET`` here, or each job's."""
    recipe = tomllib.loads(RECIPE.read_text(encoding="utf-8"))
    sections = {name: recipe[name] for name in ("model", "items", "loss")}
    return hashlib.sha256(json.dumps(sections, sort_keys=True).encode()).hexdigest()[:16]


@cache
def _weights(start: str) -> str:
    return hash_of_weights(Path(start))


def pretrained(given: Namespace, shop: str) -> dict[int, str]:
    """The run folder of each seed's model of the other shops, which are trained if need be.

    Raises:
        InputError: a result is there, and its folder is gone.
    """
    name = f"text-without-{shop}-loo"
    plan = compared(given, "without.toml", [name]).plan
    found = {}
    for slot in plan.slots():
        job = plan.job(slot)
        if slot.table.name != name or slot.trial is not None or job is None:
            continue
        if not (job.folder / "model.safetensors").exists():
            raise InputError(f"{job.folder} is gone; delete {plan.file(slot)} to train it again")
        found[slot.seed] = str(job.folder)
    return found


def trials(given: Namespace, shop: str, starts: dict[int, str]) -> list[Job]:
    """Both rates of every arm that learns, with the first seed."""
    arms = [(share, arm) for share in SHARES for arm in (*SCRATCH, *MODES[1:])]
    return [_job(given, shop, starts, arm, share, SEEDS[0], rate, False) for share, arm in arms for rate in RATES]


def finals(given: Namespace, shop: str, starts: dict[int, str]) -> list[Job]:
    """All seeds with the rate that validation chose; none of an arm whose trials are missing."""
    tried: dict[tuple[int, str], dict[float, float]] = {(share, "zero-shot"): {0.0: 0.0} for share in SHARES}
    for job in trials(given, shop, starts):
        if found := job.result():
            tried.setdefault((job.share, job.arm), {})[job.rate] = found["validation"][SELECTION_METRIC]
    whole = {key: rates for key, rates in tried.items() if key[1] == "zero-shot" or len(rates) == len(RATES)}
    return [
        _job(given, shop, starts, arm, share, seed, max(rates, key=lambda rate: rates[rate]), True)
        for seed in SEEDS
        for (share, arm), rates in whole.items()
    ]


def _job(
    given: Namespace, shop: str, starts: dict[int, str], arm: str, share: int, seed: int, rate: float, test: bool
) -> Job:
    start = None if arm in SCRATCH else starts.get(seed)
    places: dict[str, Path] = {"results": given.results, "runs": given.runs}
    return Job(shop=shop, arm=arm, share=share, seed=seed, rate=rate, start=start, test=test, **places)


def perform(given: Namespace, jobs: list[Job]) -> None:
    """Do what has no result yet, each in a process of its own; one that fails stops none of the others.

    Raises:
        HydrarecError: some failed.
    """
    missing = [job for job in jobs if job.result() is None]
    os.environ |= threads_of(given.jobs)
    failed = []
    with (
        ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool,
        progress_of(given).task("adapt", total=len(missing), unit="runs") as task,
    ):
        running = {pool.submit(do, job): f"{job.shop} {job.arm}-{job.share}-{job.seed}" for job in missing}
        for future in as_completed(running):
            error = future.exception()
            if error is not None:
                failed.append(f"{running[future]}: {error}")
            task.advance(1, f"{running[future]}: {error or future.result()}")
    if failed:
        raise HydrarecError("; ".join(failed))


def do(job: Job) -> str:
    """Train, measure, write the result file, and drop the checkpoints; give back the validation figure."""
    commit = code_version()
    name = f"adapt-{job.shop}-{job.share}"
    dataset = Dataset.open(made(name))
    trained = _trained(job, dataset)
    about = {"table": f"text-transfer-{job.shop}", "model": job.arm, "share": job.share, "dataset": name}
    about |= {"overrides": job.overrides, "recipe_hash": recipe_hash(), "commit": commit}
    about |= {"start": _weights(job.start) if job.start else None}
    found = record(trained, dataset, about, None)
    write_json(job.file, found | (_measured(trained, job.shop) if job.test else {}))
    shutil.rmtree(trained.checkpoints, ignore_errors=True)
    return f"validation {SELECTION_METRIC} {found['validation'][SELECTION_METRIC]:.4f}"


def _trained(job: Job, dataset: Dataset) -> Run:
    if job.start is None:
        settings, _ = resolve(recipe=RECIPE, overrides=job.overrides, seed=job.seed)
        return train(dataset, job.folder, settings, PROTOCOL, progress=Silent(), test=False)
    mode: Any = job.arm
    given: dict[str, Any] = {"overrides": job.overrides, "seed": job.seed, "protocol": PROTOCOL}
    return adapt(Path(job.start), dataset, job.folder, mode=mode, progress=Silent(), test=False, **given)


def _measured(trained: Run, shop: str) -> dict[str, Any]:
    """On the users of no share; ``tested`` is the fingerprint of their data."""
    rest = Dataset.open(made(f"rest-{shop}"))
    parts = split(rest, PROTOCOL)
    found = evaluate(
        trained.model(),
        rest,
        parts.test,
        protocol=PROTOCOL,
        train_ends=parts.train_ends,
        max_len=trained.settings.train.reads,
        confidence=False,
    )
    return {"tested": rest.fingerprint, **found.to_dict(), **of_queries(found.greater, found.ties), "query_users": None}


def rows_of(jobs: list[Job], targets: Targets) -> list[dict[str, Any]]:
    """A row a share: NDCG@10 of each arm, mean over seeds, and the best pretrained arm against the best from scratch,
    both by validation.

    Args:
        jobs: the finals of a shop; targets: of the users of no share.
    """
    rows = []
    for share in SHARES:
        records: dict[str, list[dict[str, Any]]] = {}
        for job in jobs:
            if job.share == share and (found := job.result()):
                records.setdefault(job.arm, []).append(found)
        if records:
            rows.append({"shop": jobs[0].shop, "share": share, **row_of(records, targets)})
    return rows


def row_of(records: dict[str, list[dict[str, Any]]], targets: Targets) -> dict[str, Any]:
    """Of the results by arm, one a seed."""
    values = {arm: values_of(own, targets, fingerprint="tested") for arm, own in records.items()}
    row: dict[str, Any] = {arm: float(each.mean()) for arm, each in values.items()}
    row["seeds"] = {arm: len(own) for arm, own in records.items()}
    row["flops"] = {arm: float(np.mean([each["cost"]["flops"] for each in own])) for arm, own in records.items()}
    if not {*SCRATCH, *MODES} <= set(values):
        return row
    validated = {arm: np.mean([each["validation"][SELECTION_METRIC] for each in own]) for arm, own in records.items()}
    ours, base = (max(arms, key=lambda arm: validated[arm]) for arms in (MODES, SCRATCH))
    users = targets.users.dictionary_encode().indices.to_numpy()
    row |= {"chosen": ours, "against": base, "change": row[ours] / row[base] - 1 if row[base] else None}
    return row | {"p": paired_p(values[ours], values[base], users), "targets": len(users)}


def reached(rows: list[dict[str, Any]]) -> bool | None:
    """Better than from scratch in each row, p below .05 at 1 and 5 %. None: runs are missing."""
    if not rows or any("p" not in row or min(row["seeds"].values()) < len(SEEDS) for row in rows):
        return None
    better = all(row[row["chosen"]] > row[row["against"]] for row in rows)
    return better and all(row["p"] < 0.05 for row in rows if row["share"] in SHARES[:2])


def show(rows: list[dict[str, Any]], met: bool | None) -> None:
    names = {"scratch-id": "ids", "scratch": "titles", "zero-shot": "zero", "head": "head"}
    names |= {"adapter": "adapter", "full": "full"}
    shown: list[list[Cell]] = []
    for row in rows:
        marks = [row.get("chosen"), row.get("against")]
        cells = [figure(row[arm]) + "*" * (arm in marks) if arm in row else "" for arm in names]
        shown.append([f"{row['shop']} {row['share']}%", *cells, p_value(row["p"]) if "p" in row else ""])
    table("NDCG@10 of users whose events nobody learned from", ["users", *names.values(), "p"], shown)
    print("ids, titles: from scratch; the others: from the other three shops")
    print("*: chosen on validation, and compared")
    print({None: "runs are missing", True: "reached", False: "not reached"}[met])


if __name__ == "__main__":
    run(main)
