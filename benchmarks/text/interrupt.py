"""Read 100,000 titles in a process that is killed again and again, and hold the vectors against undisturbed ones.

    python benchmarks/text/interrupt.py
    python benchmarks/text/interrupt.py --titles 5000 --kills 3 --results work

Distinct titles of the shops and recipes in ../shared/datasets. The process is killed by SIGKILL or SIGINT, in turn,
when so much more is on disk as chance says, and started again each time. Prints one JSON object, and writes it to
results/text-interrupt.json: the bytes of tokens and of vectors at each kill, how the process ended each time, whether
anything was ever lost, and the largest difference of two vectors, which batches of other lengths may make. What was
read undisturbed stays in --place: ended in the middle, the program goes on.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pyarrow.parquet as pq
from shops import SOURCES

from hydrarec.compare.version import code_version
from hydrarec.files import write_json
from hydrarec.items.text.source import TextSource
from hydrarec.machine import machine
from hydrarec.progress import reporter
from hydrarec.train.settings import resolve

RECIPE = Path("recipes/shops-text.toml")


def titles(most: int) -> list[str]:
    """Distinct ones, in the order of the files."""
    found: dict[str, None] = {}
    for file in sorted(SOURCES.glob("*/items.parquet")):
        names = pq.read_schema(file).names
        column = next((name for name in ("title", "name") if name in names), None)
        if column:
            found |= dict.fromkeys(
                title for title in pq.read_table(file, columns=[column])[column].to_pylist() if title
            )
    return list(found)[:most]


def read(cache: Path, most: int) -> np.ndarray:
    """(n, h) vectors, from ``cache`` as far as they are there."""
    source = TextSource(resolve(recipe=RECIPE)[0].items.text, cache)
    texts = titles(most)
    rows = source.texts.add(texts, reporter(False))
    found: np.ndarray = source.vectors.vectors(rows, reporter(False))
    return found


def on_disk(cache: Path) -> dict[str, int]:
    """Bytes of tokens and of vectors, by what they are of."""
    return {
        kind: sum(file.stat().st_size for file in (cache / kind).rglob("*") if file.is_file())
        for kind in ("tokens", "vectors")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--titles", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--place", type=Path, default=Path("runs/text-interrupt"), help="folder for work in progress")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the result file, to keep")
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)  # of the process that is killed
    args = parser.parse_args()
    if args.cache:
        read(args.cache, args.titles)
        return
    began = time.monotonic()
    whole = read(args.place / "whole", args.titles)
    alone = time.monotonic() - began
    size, cut = on_disk(args.place / "whole"), args.place / "cut"
    shutil.rmtree(cut, ignore_errors=True)  # kills are counted from the first title
    draw, kills, ends = random.Random(args.seed), [], []
    began = time.monotonic()
    for number in range(args.kills):
        goal = sum(size.values()) * (number + draw.random()) / args.kills
        command = [sys.executable, __file__, "--titles", str(args.titles), "--cache", str(cut)]
        job = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while job.poll() is None and sum(on_disk(cut).values()) < goal:
            time.sleep(0.01)
        job.send_signal((signal.SIGKILL, signal.SIGINT)[number % 2])
        ends.append(job.wait())
        kills.append(on_disk(cut))
    found = read(cut, args.titles)
    killed = all(end in (-signal.SIGKILL, -signal.SIGINT) for end in ends)  # and none ended by itself, or by an error
    grew = all(a[kind] <= b[kind] for a, b in pairwise(kills) for kind in a)
    facts = {
        "titles": len(whole),
        "seconds": {"alone": round(alone, 1), "killed": round(time.monotonic() - began, 1)},
        "bytes": size,
        "bytes_at_kills": kills,
        "ends": ends,
        "nothing_lost": killed and grew and on_disk(cut) == size,
        "largest_difference": float(np.abs(found - whole).max()),
        "commit": code_version(),
        "machine": machine(),
    }
    write_json(args.results / "text-interrupt.json", facts)
    print(json.dumps(facts, indent=2))
    shutil.rmtree(args.place)


if __name__ == "__main__":
    main()
