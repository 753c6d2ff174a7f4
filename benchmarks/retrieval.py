"""Exact search and FAISS side by side, on the vectors and the hidden states of a trained model.

    python benchmarks/retrieval.py
    python benchmarks/retrieval.py --folder work --train-events 4e6

Events come from ``hydrarec simulate``; the catalog is the items that have one. Hydra (d 64, two layers) is trained with
sampled softmax for one epoch of the histories of some users, ``--train-events`` in all. Queries are hidden states of
users after their last 200 events. With ``--folder`` data and vectors stay there, and the next run measures at once.
Prints one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import cast

USERS = 100_000
SETTINGS = ["loss.kind=sampled", "loss.negatives=2048", "items.storage=rows", "train.epochs=1"]
READS = 200  # events of a query


def hydrarec(*words: object) -> None:
    command = [sys.executable, "-m", "hydrarec", *map(str, words), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def make_data(folder: Path, events: int, items: int) -> None:
    log = folder / "log.parquet"
    hydrarec("simulate", "--events", events, "--users", USERS, "--items", items, "--out", log)
    hydrarec("prepare", log, "--out", folder / "dataset", "--memory", "3GB")


def train(folder: Path, events: int, n_queries: int) -> dict[str, object]:
    """Save the vectors of all items and the hidden states of some users, as the scorer takes them."""
    import numpy as np
    import torch

    from hydrarec.data.batch import pack
    from hydrarec.data.prefix import training_events
    from hydrarec.data.split import split
    from hydrarec.data.store import Dataset
    from hydrarec.items.make import new_items
    from hydrarec.losses.config import make_loss
    from hydrarec.models.hydra import Hydra
    from hydrarec.progress import Silent
    from hydrarec.train.loop import Fit
    from hydrarec.train.settings import resolve

    settings, _ = resolve(overrides=SETTINGS)
    dataset = Dataset.open(folder / "dataset")
    torch.manual_seed(0)
    offsets = np.asarray(dataset.offsets)
    ends = split(dataset).train_ends
    order = np.random.default_rng(1).permutation(dataset.n_users)
    unread = order[np.cumsum((ends - offsets[:-1])[order]) > events]
    ends[unread] = offsets[unread]
    counts = np.bincount(training_events(dataset, ends)[0], minlength=dataset.n_items)
    items, _ = new_items(settings.items, dataset, 64, counts, Silent())
    model = Hydra.for_data(settings.model, dataset, items)
    training = Fit(model, settings.train, make_loss(settings.loss, torch.from_numpy(counts)))
    position = training.run(dataset, ends)
    users = np.random.default_rng(0).permutation(np.flatnonzero(np.diff(offsets) > 1))[:n_queries]
    firsts = np.maximum(offsets[users], offsets[users + 1] - READS)
    hidden = []
    with torch.inference_mode():
        for first in range(0, len(users), 128):
            some = zip(firsts[first : first + 128], offsets[users[first : first + 128] + 1], strict=True)
            batch = pack([np.asarray(dataset.items[a:b]).astype(np.int64) for a, b in some])
            hidden.append(model.queries(model.hidden_at(batch, batch.last)))
        np.save(folder / "queries.npy", torch.cat(hidden).numpy())
        np.save(folder / "vectors.npy", model.catalog().numpy())
    return {
        "items": dataset.n_items,
        "events": int(counts.sum()),
        "steps": position.step,
        "items_with_training_event": int((counts > 0).sum()),
        "cpu_seconds": round(position.cpu_seconds, 1),
    }


class Timer:
    """Seconds on the clock and of CPU since it was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def milliseconds(self, n: int) -> list[float]:
        """[CPU, clock] for each of ``n``."""
        wall, cpu = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
        return [round(1000 * cpu / n, 3), round(1000 * wall / n, 3)]


def served(
    folder: Path, ks: list[int], batches: list[int], n: int, rounds: int, size: int | None = None
) -> dict[str, object]:
    """What the server does: ``Ranking`` and ``IndexedRanking`` in turns, n queries a round, in batches.

    Among ``size`` of the items, where there are more.
    """
    from types import SimpleNamespace

    import numpy as np
    import torch

    from hydrarec.models.neural import NeuralModel
    from hydrarec.serve.catalog.indexing import Indexing
    from hydrarec.serve.catalog.ranking import Conditions, Ranking

    vectors, queries = (torch.from_numpy(np.load(folder / f"{name}.npy")) for name in ("vectors", "queries"))
    if size is not None:
        vectors = vectors[np.random.default_rng(0).permutation(len(vectors))[:size]]
    scorer = SimpleNamespace(queries=lambda hidden: hidden, scale=20.0, chunk_items=65_536, n_items=len(vectors))
    exact = Ranking(cast(NeuralModel, scorer), vectors)
    timer = Timer()
    index = Indexing("faiss", len(vectors), lambda: queries[:256]).build(exact)
    if index is None:
        return {}
    found: dict[str, object] = {
        "build_cpu_seconds": timer.milliseconds(1)[0] / 1000,
        "recall_measured_at_start": index.recall,
        "probes": [index.index.probes, index.index.clusters],
    }
    asked = queries[256 : 256 + n]
    for k in ks:
        condition = Conditions(k=k, allowed=None, denied=np.empty(0, np.int64))
        for batch in batches:
            taken: dict[str, list[list[float]]] = {"exact": [], "index": []}
            for _ in range(rounds):
                answers = {}
                for name, ranking in (("exact", exact), ("index", index)):
                    timer = Timer()
                    parts = [ranking.best(some, [condition] * len(some)) for some in asked.split(batch)]
                    taken[name].append(timer.milliseconds(n))
                    answers[name] = [rows for part in parts for rows, _ in part]
            pairs = zip(answers["exact"], answers["index"], strict=True)
            ms = {name: np.median(each, axis=0).tolist() for name, each in taken.items()}
            found[f"k {k}, batch {batch}"] = {
                "recall": round(float(np.mean([len({*a} & {*b}) / k for a, b in pairs])), 4),
                "exact_ms_cpu_and_clock": ms["exact"],
                "index_ms_cpu_and_clock": ms["index"],
                "times_faster_cpu": round(ms["exact"][0] / ms["index"][0], 1),
            }
    return found


def kind(folder: Path, description: str, more: int, n: int) -> dict[str, object]:
    """Any index that FAISS makes of ``description``: recall@100 and CPU milliseconds by how far a search goes.

    ``more`` candidates for each item that is wanted are scored exactly.
    """
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(1)
    vectors, queries = np.load(folder / "vectors.npy"), np.load(folder / "queries.npy")[256 : 256 + n]
    scores = queries @ vectors.T
    best = np.argpartition(-scores, 100, axis=1)[:, :100]
    timer = Timer()
    index = faiss.index_factory(vectors.shape[1], description, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[:: max(1, len(vectors) // 131_072)])
    index.add(vectors)
    found: dict[str, object] = {"build_cpu_seconds": timer.milliseconds(1)[0] / 1000}
    name = "efSearch" if description.startswith("HNSW") else "nprobe"
    make = getattr(faiss, {"efSearch": "SearchParametersHNSW", "nprobe": "SearchParametersIVF"}[name])
    for effort in (128, 256, 512) if name == "efSearch" else (8, 16, 32, 64, 128):
        timer = Timer()
        hits = 0
        for first in range(0, n, 16):
            asked = queries[first : first + 16]
            _, rows = index.search(asked, more * 100, params=make(**{name: effort}))
            exact = np.einsum("nd,ncd->nc", asked, vectors[np.maximum(rows, 0)])
            exact[rows < 0] = -np.inf
            top = np.take_along_axis(rows, np.argsort(-exact, axis=1)[:, :100], 1)
            hits += sum(len({*a} & {*b}) for a, b in zip(top.tolist(), best[first : first + 16].tolist(), strict=True))
        found[f"{name} {effort}"] = {"recall@100": round(hits / (100 * n), 4), "ms_cpu": timer.milliseconds(n)[0]}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one by default")
    parser.add_argument("--events", type=lambda text: int(float(text)), default=10_000_000)
    parser.add_argument("--items", type=lambda text: int(float(text)), default=2_250_000, help="many get no event")
    parser.add_argument("--train-events", type=lambda text: int(float(text)), default=800_000)
    parser.add_argument("--queries", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--sizes", nargs="*", type=lambda text: int(float(text)), default=[], help="parts of the catalog"
    )
    parser.add_argument("--kinds", nargs="*", default=[], help="other indexes of FAISS, such as HNSW32 IVF2048,Flat")
    parser.add_argument("--more", type=int, default=4, help="candidates for each item that is wanted (--kinds)")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"

    from hydrarec.machine import machine

    with tempfile.TemporaryDirectory() as name:
        folder = arguments.folder or Path(name)
        folder.mkdir(exist_ok=True)
        if not (folder / "dataset").exists():
            make_data(folder, arguments.events, arguments.items)
        if not (folder / "model.json").exists():
            model = train(folder, arguments.train_events, 2_048)
            (folder / "model.json").write_text(json.dumps(model))
        found: dict[str, object] = {"machine": machine(), "load": os.getloadavg(), "threads": 1}
        found["model"] = json.loads((folder / "model.json").read_text())
        for description in arguments.kinds:
            found[description] = kind(folder, description, arguments.more, arguments.queries)
        for size in arguments.sizes:
            found[f"served, {size} items"] = served(folder, [20], [1, 16], arguments.queries, arguments.rounds, size)
        if not arguments.kinds and not arguments.sizes:
            found["served"] = served(folder, [20, 100], [1, 16, 64], arguments.queries, arguments.rounds)
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
