"""Read the titles of all four shops through the language model, once.

    python benchmarks/text/encode.py

The other programs find the vectors in HYDRAREC_CACHE, and make them there
themselves where this was not run. It goes on from where it was ended, and
writes results/text-titles.json: what reading the titles of each shop takes.
"""

import time
from argparse import Namespace
from typing import Any

import numpy as np
from common import RECIPE, finish, options, progress_of, run
from shops import SHOPS, made
from torch import nn

from hydrarec.data.store import Dataset
from hydrarec.files import read_json, write_json
from hydrarec.items.text.source import TextSource
from hydrarec.machine import machine
from hydrarec.progress import table
from hydrarec.train.settings import resolve


def main() -> None:
    given = options(__doc__).parse_args()
    file = given.results / "text-titles.json"
    before = read_json(file, remedy="delete it, and run again") if file.exists() else {}
    found = before if before and given.show else read(given)
    # Seconds of titles read before, in a process that was ended perhaps, are not lost where few or none were left.
    if before and before.get("cpu_seconds", 0) > found["cpu_seconds"] and before["shops"] == found["shops"]:
        found = before
    if not given.show:
        write_json(file, found)
    if finish(given, found):
        return
    table(
        "", ["shop", "titles", "distinct", "tokens"], [[shop, *each.values()] for shop, each in found["shops"].items()]
    )
    print(f"{found['flops_per_token']:.3g} operations a token; {found['cpu_seconds']:.0f} CPU seconds")


def read(given: Namespace) -> dict[str, Any]:
    """Read what nobody has read, and count."""
    source = TextSource(resolve(recipe=RECIPE)[0].items.text)
    began, shops = time.process_time(), {}
    for shop in SHOPS:
        texts, there = source.sentences(Dataset.open(made(shop)).item_table)
        rows = source.texts.add(texts, progress_of(given))[there]
        source.vectors.vectors(rows, progress_of(given))
        distinct = np.unique(rows)
        tokens = len(source.texts.tokens(distinct)[0]) - len(distinct)  # [ITEM] is not read where vectors are means
        shops[shop] = {"titles": len(rows), "distinct": len(distinct), "tokens": tokens}
    seconds = time.process_time() - began
    linear = sum(part.weight.numel() for part in source.backbone.modules() if isinstance(part, nn.Linear))
    return {"shops": shops, "flops_per_token": 2 * linear, "cpu_seconds": seconds, "machine": machine()}


if __name__ == "__main__":
    run(main)
