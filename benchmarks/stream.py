"""A stream of days: training that goes on each day against training from scratch on everything each day.

    python benchmarks/stream.py
    python benchmarks/stream.py --days 10 --every 3 --events-a-day 5000 --set train.lr=2e-3

``hydrarec simulate`` makes the log: a catalog that 5 % of new items join every day. A run is trained on the days before
the stream, less the last 6 %, which say how many epochs are best. Then each day comes by ``hydrarec train --continue``,
which measures the run on the day's events before it learns them. Beside it, a new model learns all events before the
day, in as many epochs, and is measured on the same events. Prints one JSON object, and each day on standard error.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

DAY = 86_400


def hydrarec(*words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "hydrarec", *words, "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def make(folder: Path, args: argparse.Namespace) -> tuple[Path, list[Path]]:
    """The log of the days before the stream, and one of each day of it."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    days = args.before + args.days
    sizes = {"events": days * args.events_a_day, "users": args.users, "items": args.items, "days": days}
    sizes |= {"new-items-per-day": args.new_items or args.items // 20, "seed": args.seed}
    log = folder / "log.parquet"
    words = [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
    hydrarec("simulate", *words, "--out", str(log))
    events = pq.read_table(log)
    start = pc.min(events["time"]).as_py() // DAY
    day = pc.subtract(pc.divide(events["time"], DAY), start)
    pq.write_table(events.filter(pc.less(day, args.before)), folder / "before.parquet")
    parts = []
    for number in range(args.before, days):
        part = events.filter(pc.equal(day, number))
        if part.num_rows:
            parts.append(folder / f"day-{number}.parquet")
            pq.write_table(part, parts[-1])
    return folder / "before.parquet", parts


def from_scratch(run_folder: Path, day: Path, epochs: int, seed: int) -> dict[str, float]:
    """A new model that learns what came before ``day``, measured on it as ``--continue`` measures the run."""
    import numpy as np
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
    import torch

    from hydrarec.data.prefix import training_events
    from hydrarec.evaluate.evaluate import evaluate
    from hydrarec.losses.config import make_loss
    from hydrarec.models.hydra import Hydra
    from hydrarec.train.loop import Fit
    from hydrarec.train.run import open_run

    run = open_run(run_folder)
    data = run.open_events()  # with the day, which was appended already
    ends, owners = np.asarray(data.offsets)[1:], np.repeat(np.arange(data.n_users), np.diff(data.offsets))
    today = np.asarray(data.times) >= pc.min(pq.read_table(day)["time"]).as_py()
    train_ends = ends - np.bincount(owners[today], minlength=data.n_users)
    torch.manual_seed(seed)
    counts = torch.from_numpy(np.bincount(training_events(data, train_ends)[0], minlength=data.n_items))
    model = Hydra.for_data(run.settings.model, data)
    config = type(run.settings.train)(**{**vars(run.settings.train), "epochs": epochs, "seed": seed})
    spent = Fit(model, config, make_loss(run.settings.loss, counts)).run(data, train_ends)
    positions = np.flatnonzero(today & (np.arange(len(today)) > np.asarray(data.offsets)[owners]))
    found = evaluate(
        model.eval(),
        data,
        positions,
        protocol=run.protocol,
        train_ends=train_ends,
        max_len=run.settings.train.reads,
        confidence=False,
        lists=False,
    )
    return {"NDCG@10": found.metrics["NDCG@10"], "train_seconds": spent.seconds, "items": data.n_items}


def measure(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    before, days = make(folder, args)
    hydrarec("prepare", str(before), "--out", str(folder / "before"))
    words = [f"--set={each}" for each in [f"train.seed={args.seed}", *args.set]]
    split = [f"--set=protocol.{each}" for each in ("split=time", "target=every", "quantile=0.97")]
    base = hydrarec("train", str(folder / "before"), *words, *split, "--out", str(folder / "run"))
    log = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    epochs = max((entry for entry in log if "NDCG@10" in entry), key=lambda entry: entry["NDCG@10"])["epoch"]
    rows = []
    for number, day in enumerate(days, 1):
        args_of = ["train", str(day), "--continue", str(folder / "run"), "--keep-days", str(args.keep_days)]
        found = hydrarec(*args_of, *(f"--set={each}" for each in args.daily))
        row = {"day": number, "events": found["events"], "continued": found["metrics"]["NDCG@10"]}
        row |= {"continued_seconds": found["train_seconds"], "rows": found["items"], "new": found["new"]}
        row |= {"evicted": found["evicted"], "peak_bytes": found["peak_memory_bytes"]}
        if number % args.every == 0 or number == len(days):
            scratch = from_scratch(folder / "run", day, epochs, args.seed)
            row |= {"scratch": scratch["NDCG@10"], "scratch_seconds": scratch["train_seconds"]}
            row |= {"scratch_rows": scratch["items"]}
        rows.append({name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()})
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    both = [row for row in rows if "scratch" in row]
    ratios = {
        "quality": mean(row["continued"] for row in both) / mean(row["scratch"] for row in both),
        "seconds": sum(row["continued_seconds"] for row in both) / sum(row["scratch_seconds"] for row in both),
    }
    return {
        "epochs": epochs,
        "base_seconds": base["seconds"],
        "parameters": base["parameters"],
        "days": rows,
        "continued_against_scratch": {name: round(value, 4) for name, value in ratios.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=int, default=30, help="days before the stream")
    parser.add_argument("--days", type=int, default=30, help="days of the stream")
    parser.add_argument("--events-a-day", type=int, default=10_000)
    parser.add_argument("--users", type=int, default=6_000)
    parser.add_argument("--items", type=int, default=2_000, help="on the first day of the log")
    parser.add_argument("--new-items", type=int, default=0, help="that join on each day; 0: one in twenty of --items")
    parser.add_argument("--keep-days", type=float, default=14.0, help="what is unused for longer is evicted")
    parser.add_argument("--every", type=int, default=1, help="train from scratch on every n-th day alone")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="a setting of both")
    parser.add_argument("--daily", action="append", default=[], help="a setting of the days, such as train.epochs=2")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), args), indent=1))


if __name__ == "__main__":
    main()
