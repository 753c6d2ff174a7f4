"""The version of a model, as far as states depend on it."""

import hashlib
import json

import torch
from safetensors import safe_open

from hydrarec.items.make import rows_of
from hydrarec.nn.state import VERSION
from hydrarec.serve.packing import Precision
from hydrarec.train.run import Run

# What a text says is not learned, and a state stays what it is when an item is told anew (docs/serving.md).
_NOT_LEARNED = ("items.vectors", "items.gathered")


def version_of(run: Run, precision: Precision) -> str:
    """Equal for two runs if one can go on from the states of the other: the same was learned, of the same items.

    Items that were added to a run after training, or have another text since, leave it as it is.
    """
    digest, trained = hashlib.blake2b(digest_size=12), run.dataset["items"]
    with safe_open(run.path / "model.safetensors", "pt") as tensors:
        for name in sorted(set(tensors.keys()) - set(_NOT_LEARNED)):
            value = rows_of(name, tensors.get_tensor(name), trained)
            digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
            digest.update(value.flatten().view(torch.uint8).numpy().data)
    files = {"mapped": "vectors.bin", "sharded": "shard-*"}.get(run.settings.items.storage)
    for place in sorted(run.table.glob(files)) if files else []:
        with place.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    settings = run.settings.to_dict()
    ids = run.items()["item"][:trained].to_pylist()
    made_of = [settings["model"], settings["items"], precision, VERSION, ids]
    digest.update(json.dumps(made_of, sort_keys=True).encode())
    return digest.hexdigest()
