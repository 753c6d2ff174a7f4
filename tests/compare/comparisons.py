"""Comparisons as text, and results as runs would have written them."""

import json

import numpy as np

from hydrarec.compare.forms import FORMS
from hydrarec.compare.values import pack

HEAD = """
seeds = [1, 2]
trials = 2
[[data]]
name = "shop"
source = "events.csv"
protocols = ["loo", "hstu"]
[train]
epochs = 2
patience = 1
max_len = 20
"""
# Learns next to nothing, in no time at all.
TINY = '["model.d_model=8", "model.n_layers=1", "model.n_heads=2", "model.d_state=4"]'
HYDRA = f"""
[[model]]
label = "hydra"
title = "Hydra, order only"
name = "hydra"
ours = true
set = {TINY}
[model.grid]
"train.lr" = [1e-3, 1e-2, 3e-2]
"""
SMALL = f"""
[[model]]
label = "small"
name = "hydra"
set = {TINY}
on.shop-hstu = ["model.dropout=0.1"]
"""
MARKOV = """
[[model]]
label = "markov"
name = "markov"
"""
OTHERS = """
[[model]]
label = "others"
title = "Hydra of others"
name = "hydra"
external = true
"""
REMOVED = """
[[model]]
label = "gated"
title = "Hydra with gates"
removed = true
"""


def made_record(plan, slot, values, *, validation=0.2, users=None, seconds=100.0, **changes):
    """A result as a run would have written it, with these NDCG@10 of the queries; None of them is a trial's."""
    job = plan.job(slot)
    neural = job.settings.name == "hydra"
    found = {
        "table": slot.table.name,
        "model": slot.model.label,
        "dataset": slot.table.data.name,
        "point": list(job.point),
        "commit": "0123456789" * 4,
        "run": "runs/x",
        "protocol": slot.table.protocol.split,
        "parameters": {"items": 640, "encoder": 93_648 if neural else 0},
        "item_bytes": 2560,
        "cost": {"seconds": seconds, "flops": 1e9},
        "seconds": seconds,
        "peak_memory_bytes": 512 * 2**20,
        "epochs": 2,
        "fingerprint": "f" * 64,
        "seed": slot.seed,
        "machine": {"processor": "AMD EPYC", "cores": 2, "threads": 1, "torch": "2.13.0"},
        "validation": None if validation is None else {"NDCG@10": validation},
        "best_epoch": 2 if neural else None,
        "cpu_seconds": 0.9 * seconds,
        "seconds_to_best": 0.8 * seconds,
        "cpu_seconds_to_best": 0.7 * seconds,
        "events": 1000,
        "events_to_best": 900,
        "events_per_second": 123_456.0,
        "sees_request_time": False,
        "protocol_fields": slot.table.protocol.to_dict(),
        "recipe": job.settings.to_dict(),
        "form": FORMS.get(job.settings.name, 1),
        "data": {"users": 6040, "items": 3416, "events": 999_611},
        "curve": [[1, 0.1, 5.0, 4.0], [2, validation, 10.0, 9.0]] if neural and validation else [],
    }
    if values is not None:
        values = np.asarray(values, float)
        owners = np.arange(len(values)) if users is None else np.asarray(users)
        found |= {
            "metrics": {"HR@10": float((values > 0).mean()), "NDCG@10": float(values.mean())},
            "part": "test",
            "intervals": {},
            "groups": {},
            "users": len(np.unique(owners)),
            "queries": len(values),
            "ndcg10": pack(values, "f4"),
            "hr10": pack(values > 0, "f4"),
            "query_users": None if users is None else pack(owners, "i4"),
        }
    found |= changes
    file = plan.file(slot)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found))
    return found
