"""The file of one run: what ``hydrarec train --json`` says, where it came from, and every query's figure."""

import json
from typing import Any, Literal

import numpy as np
from safetensors.numpy import load_file

from hydrarec.compare.forms import FORMS
from hydrarec.compare.values import pack
from hydrarec.data.split import Split, split
from hydrarec.data.store import Dataset
from hydrarec.evaluate.evaluate import evaluate
from hydrarec.evaluate.groups import of_domains
from hydrarec.evaluate.metrics import SELECTION_METRIC, hit_rate, ndcg
from hydrarec.evaluate.queries import users_of
from hydrarec.train.run import Run
from hydrarec.train.summary import summary

Part = Literal["test", "valid"]
COSTS = (
    "best_epoch",
    "cpu_seconds",
    "seconds_to_best",
    "cpu_seconds_to_best",
    "events",
    "events_to_best",
    "events_per_second",
)


def record(run: Run, dataset: Dataset, about: dict[str, Any], part: Part | None) -> dict[str, Any]:
    """A finished run as its result file has it.

    Args:
        about: model, dataset, table, commit ...; put in front.
        part: what it is measured on; None: nothing, it is a trial.

    Returns:
        Among others ``recipe``, all settings; ``losses``, the mean training loss of each epoch; ``curve``, [epoch,
        validation NDCG@10, seconds, CPU seconds] at every validation, with domains ``domain_curves``, the validation
        NDCG@10 of each at the same epochs; and where the run is measured ``metrics``, ``intervals``, ``ndcg10`` and
        ``hr10`` (NDCG@10 and HR@10 of each target in order, see ``values.pack``) and ``query_users`` (the user row of
        each; None where every target is another user's).
    """
    results = run.metrics
    found = {
        **about,
        **summary(run),
        **{key: results.get(key) for key in COSTS},
        "protocol_fields": run.protocol.to_dict(),
        "recipe": run.settings.to_dict(),
        "form": FORMS.get(run.settings.name, 1),
        "data": {key: run.dataset[key] for key in ("users", "items", "events")},
        **_curves(run),
    }
    for key in ("metrics", "domains"):  # of the test split, which the folder may know from another run like this one
        found.pop(key, None)
    if part is None:
        return found
    parts = split(dataset, run.protocol)
    positions = getattr(parts, part)
    measured, greater, ties = _measured(run, dataset, parts, part)
    several = measured["users"] < measured["queries"]
    domains = of_domains(measured["groups"])
    return found | {
        "part": part,
        **({"domains": domains} if domains else {}),
        **{key: measured[key] for key in ("metrics", "users", "queries", "intervals", "groups")},
        **of_queries(greater, ties),
        "query_users": pack(users_of(dataset, positions), "i4") if several else None,
    }


def of_queries(greater: np.ndarray, ties: np.ndarray) -> dict[str, str]:
    """``ndcg10`` and ``hr10`` from the two counts (Q,) of every target; see ``evaluate.Ranks``."""
    counts = greater.astype(np.int64), ties.astype(np.int64)
    return {"ndcg10": pack(ndcg(*counts, 10), "f4"), "hr10": pack(hit_rate(*counts, 10), "f4")}


def _measured(run: Run, dataset: Dataset, parts: Split, part: Part) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """What an evaluation says, and its two counts of every target; training has measured on the test split itself."""
    if part == "test":
        ranks = load_file(run.path / "ranks.safetensors")
        return run.metrics["test"], ranks["greater"], ranks["ties"]
    found = evaluate(
        run.model(),
        dataset,
        parts.valid,
        protocol=run.protocol,
        train_ends=parts.train_ends,
        max_len=run.settings.train.reads,
        seed=run.settings.train.seed,
    )
    return found.to_dict(), found.greater, found.ties


def _curves(run: Run) -> dict[str, Any]:
    log = run.path / "log.jsonl"
    entries = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    validated = [entry for entry in entries if SELECTION_METRIC in entry]
    losses = [round(entry["loss"], 5) for entry in entries if "loss" in entry]
    curve = [
        [
            entry["epoch"],
            round(entry[SELECTION_METRIC], 6),
            entry["seconds"],
            entry.get("cpu_seconds", entry["seconds"]),
        ]
        for entry in validated
    ]
    names = sorted({name for entry in validated for name in entry.get("domains", {})})
    of_domains = {name: [round(entry["domains"][name][SELECTION_METRIC], 6) for entry in validated] for name in names}
    return {"curve": curve, "losses": losses, **({"domain_curves": of_domains} if of_domains else {})}
