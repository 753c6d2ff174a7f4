"""The version of a model, as far as states depend on it."""

import hashlib
import json

from hydrarec.nn.state import VERSION
from hydrarec.serve.packing import Precision
from hydrarec.train.run import Run


def version_of(run: Run, precision: Precision) -> str:
    """Equal for two runs if one can go on from the states of the other: weights, items and settings are the same."""
    digest = hashlib.blake2b(digest_size=12)
    table = [run.table / "vectors.bin"] if run.settings.items.storage == "mapped" else []
    for path in (run.path / "model.safetensors", run.path / "items.parquet", *table):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    settings = run.settings.to_dict()
    made_of = [settings["model"], settings["items"], precision, VERSION]
    digest.update(json.dumps(made_of, sort_keys=True).encode())
    return digest.hexdigest()
