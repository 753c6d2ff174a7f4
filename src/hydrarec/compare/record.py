"""The file of one run: what ``hydrarec train --json`` says, where it came from, and every query's figure."""

import json
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from hydrarec.compare.values import pack
from hydrarec.data.split import split
from hydrarec.data.store import Dataset
from hydrarec.evaluate.metrics import ndcg
from hydrarec.evaluate.queries import users_of
from hydrarec.train.loop import SELECT
from hydrarec.train.run import Run
from hydrarec.train.train import summary

COSTS = (
    "best_epoch",
    "cpu_seconds",
    "seconds_to_best",
    "cpu_seconds_to_best",
    "events",
    "events_to_best",
    "events_per_second",
)


def record(run: Run, dataset: Dataset, about: dict[str, Any]) -> dict[str, Any]:
    """A finished run as its result file has it.

    Args:
        about: model, dataset, table, commit ...; put in front.

    Returns:
        Among others ``recipe``, all settings; ``curve``, [epoch, validation NDCG@10, seconds, CPU seconds] at every
        validation; and where the run was tested ``intervals``, ``ndcg10`` (NDCG@10 of each test target in order, see
        ``values.pack``) and ``query_users`` (the user row of each; None where every target is another user's).
    """
    results = run.metrics
    found = {
        **about,
        **summary(run),
        **{key: results.get(key) for key in COSTS},
        "sees_request_time": results["sees_request_time"],
        "protocol_fields": run.protocol.to_dict(),
        "recipe": run.settings.to_dict(),
        "data": {key: run.dataset[key] for key in ("users", "items", "events")},
        "curve": _curve(run),
    }
    if "test" not in results:
        return {key: value for key, value in found.items() if key != "metrics"}
    ranks = load_file(run.path / "ranks.safetensors")
    values = ndcg(ranks["greater"].astype(np.int64), ranks["ties"].astype(np.int64), 10)
    owners = users_of(dataset, split(dataset, run.protocol).test)
    several = results["test"]["users"] < results["test"]["queries"]
    return found | {
        "users": results["test"]["users"],
        "queries": results["test"]["queries"],
        "intervals": results["test"]["intervals"],
        "groups": results["test"]["groups"],
        "ndcg10": pack(values, "f4"),
        "query_users": pack(owners, "i4") if several else None,
    }


def _curve(run: Run) -> list[list[float]]:
    log = run.path / "log.jsonl"
    entries = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [
        [entry["epoch"], round(entry[SELECT], 6), entry["seconds"], entry.get("cpu_seconds", entry["seconds"])]
        for entry in entries
        if SELECT in entry
    ]
