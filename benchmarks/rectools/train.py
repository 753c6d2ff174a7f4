"""Train a RecTools model on an export, and score the whole catalog for every request. Runs in .venv-rectools.

    .venv-rectools/bin/python benchmarks/rectools/train.py runs/rectools/ml-1m-hstu hstu --seed 1

The folder ``EXPORT/MODEL-SEED`` gets ``scores.npy`` (requests, items) float32, -inf where RecTools knows no such item,
and then ``run.json``. The same command again goes on after the last finished epoch.

As RecTools' tutorial of HSTU does: the last event before the target validates and does not train, and of 100 epochs
the weights with the best recall@10 there are kept. Seen items are left out there if the protocol leaves them out.
"""

import argparse
import json
import logging
import resource
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import HSTUModel, SASRecModel
from rectools.models.nn.item_net import IdEmbeddingsItemNet
from rectools.models.nn.transformers.lightning import TransformerLightningModule
from rectools.models.nn.transformers.utils import leave_one_out_mask

K = 10
TUTORIAL = {
    "session_max_len": 200,
    "lightning_module_kwargs": {"logits_t": 0.05},
    "loss": "sampled_softmax",
    "n_negatives": 128,
    "dropout_rate": 0.2,
    "n_factors": 50,
    "n_heads": 1,
    "n_blocks": 2,
    "lr": 1e-3,
    "batch_size": 128,
}
TIMED = {"relative_time_attention": True, "relative_pos_attention": True}
# MovieLens-1M of examples/tutorials/transformers_HSTU_tutorial.ipynb; sasrec-softmax: the defaults of SASRecModel, as
# in the public benchmark that its docstring names (blondered/bert4rec_repro).
MODELS: dict[str, tuple[type, dict[str, Any]]] = {
    "sasrec": (SASRecModel, TUTORIAL),
    "sasrec-softmax": (SASRecModel, {"loss": "softmax"}),
    "hstu": (HSTUModel, TUTORIAL | TIMED),
    "hstu-large": (HSTUModel, TUTORIAL | TIMED | {"n_blocks": 8, "n_heads": 2}),
}


class Watch(Callback):
    """recall@10 and NDCG@10 of every validation, with what it took so far; tells where training is."""

    def __init__(self, exclude_seen: bool) -> None:
        self.exclude_seen = exclude_seen
        self.curve: list[dict[str, float]] = []
        self.before = {"seconds": 0.0, "cpu_seconds": 0.0, "validating": 0.0}  # of this run, by earlier processes
        self.began, self.validating, self.said = time.monotonic(), 0.0, time.monotonic()
        self.began_cpu = time.process_time()
        self.places: list[torch.Tensor] = []

    def state_dict(self) -> dict[str, Any]:
        return {"curve": self.curve}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.curve = state["curve"]
        self.before = {name: self.curve[-1][name] for name in self.before}

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.began, self.began_cpu = time.monotonic(), time.process_time()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if time.monotonic() - self.said > 30:
            self.said = time.monotonic()
            batch = f"batch {trainer.fit_loop.batch_idx + 1}/{trainer.num_training_batches}"
            print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}, {batch}", flush=True)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.validation_began = time.monotonic()

    def on_validation_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: dict[str, torch.Tensor], *_: Any
    ) -> None:
        network = module.torch_model
        last = network.encode_sessions(batch, module.item_embs)[:, -1, :]
        scores = network.similarity_module(last, module.item_embs)
        targets = batch["y"]  # (B, 1)
        own = scores.gather(1, targets)
        if self.exclude_seen:
            scores = scores.scatter(1, batch["x"], -torch.inf)
        scores[:, 0] = -torch.inf  # the padding
        self.places.append((scores > own).sum(1) + 1)

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        place = torch.cat(self.places).double()
        self.places.clear()
        recall = float((place <= K).double().mean())
        found = float(torch.where(place <= K, 1 / torch.log2(place + 1), 0.0).mean())
        now = time.monotonic()
        self.validating += now - self.validation_began
        entry = {
            "epoch": trainer.current_epoch + 1,
            f"recall@{K}": recall,
            f"NDCG@{K}": found,
            "seconds": self.before["seconds"] + now - self.began,
            "cpu_seconds": self.before["cpu_seconds"] + time.process_time() - self.began_cpu,
            "validating": self.before["validating"] + self.validating,
        }
        self.curve.append(entry)
        module.log(f"recall@{K}", recall)
        print(json.dumps({name: round(value, 4) for name, value in entry.items()}), flush=True)


class Module(TransformerLightningModule):
    """Without a loss of validation, which costs as much as a training step and chooses nothing."""

    def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        return None


class GoingOn(Trainer):
    """A trainer that goes on from ``folder/last.ckpt`` where there is one."""

    folder: Path

    def fit(self, model: LightningModule, *loaders: Any) -> None:
        last = self.folder / "last.ckpt"
        model.is_fitted = last.exists()  # otherwise RecTools draws the weights again
        super().fit(model, *loaders, ckpt_path=str(last) if last.exists() else None)


def trainer(folder: Path, given: argparse.Namespace, exclude_seen: bool) -> Trainer:
    best = ModelCheckpoint(
        folder, filename="best", monitor=f"recall@{K}", mode="max", save_last=True, enable_version_counter=False
    )
    callbacks: list[Callback] = [Watch(exclude_seen), best]
    if given.patience:
        callbacks.append(EarlyStopping(monitor=f"recall@{K}", mode="max", patience=given.patience))
    made = GoingOn(
        accelerator="cpu",
        devices=1,
        min_epochs=min(10, given.epochs),
        max_epochs=given.epochs,
        limit_train_batches=given.batches,
        num_sanity_val_steps=0,
        deterministic=True,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
        callbacks=callbacks,
        logger=False,
    )
    made.folder = folder
    return made


def read(export: Path) -> tuple[Dataset, pd.DataFrame]:
    """The events, and when each user asks."""
    names = {"user": Columns.User, "item": Columns.Item, "time": Columns.Datetime}
    events = pd.read_parquet(export / "events.parquet").rename(columns=names)
    requests = pd.read_parquet(export / "requests.parquet").rename(columns=names)
    for frame in (events, requests):
        frame[Columns.Datetime] = pd.to_datetime(frame[Columns.Datetime], unit="s")
        frame[Columns.Weight] = 1.0
    return Dataset.construct(events), requests


def score(model: Any, dataset: Dataset, requests: pd.DataFrame, n_items: int) -> np.ndarray:
    """(requests, items) float32 through ``recommend``: the whole catalog as one list a user."""
    scores = np.full((len(requests), n_items), -np.inf, np.float32)
    row = pd.Series(np.arange(len(requests)), requests[Columns.User])
    for start in range(0, len(requests), 256):
        part = requests[start : start + 256]
        found = model.recommend(
            users=part[Columns.User].to_numpy(),
            dataset=dataset,
            k=n_items,
            filter_viewed=False,
            context=part.copy() if model.require_recommend_context else None,
            on_unsupported_targets="ignore",
        )
        scores[row[found[Columns.User]].to_numpy(), found[Columns.Item].to_numpy()] = found[Columns.Score]
        print(f"scored {min(start + 256, len(requests))}/{len(requests)} users", flush=True)
    return scores


def write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(text)
    temporary.replace(path)


def facts(model: Any, sees_time: bool) -> dict[str, Any]:
    """What training came to."""
    watch = next(each for each in model.fit_trainer.callbacks if isinstance(each, Watch))
    best = max(watch.curve, key=lambda entry: entry[f"recall@{K}"])
    last = watch.curve[-1]
    events = sum(len(session) - 1 for session in model.fit_trainer.train_dataloader.dataset.sessions)
    items = sum(value.numel() for value in model.torch_model.item_model.parameters())
    return {
        "sees_request_time": sees_time,
        "epochs": last["epoch"],
        "best_epoch": best["epoch"],
        "curve": watch.curve,
        "events_an_epoch": events,
        "parameters": {
            "items": items,
            "encoder": sum(value.numel() for value in model.torch_model.parameters()) - items,
        },
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "machine": {"threads": torch.get_num_threads(), "torch": torch.__version__, "python": sys.version.split()[0]},
        "versions": {name: version(name) for name in ("rectools", "torch", "pytorch-lightning", "numpy", "pandas")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="a folder that export.py made")
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--patience", type=int, help="end after so many epochs without a better one (tutorial: never)")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=JSON", help="such as n_factors=64")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, help="of an epoch, to try it out")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    torch.set_num_threads(given.threads)
    kind, settings = MODELS[given.model]
    settings = settings | {name: json.loads(value) for name, _, value in (each.partition("=") for each in given.set)}
    about = json.loads((given.export / "about.json").read_text())
    order = {
        "model": given.model,
        "seed": given.seed,
        "epochs": given.epochs,
        "patience": given.patience,
        "batches": given.batches,
        "settings": settings,
        "export": about,
    }
    folder = given.export / f"{given.model}-{given.seed}"
    folder.mkdir(exist_ok=True)
    if (folder / "order.json").exists() and json.loads((folder / "order.json").read_text()) != order:
        sys.exit(f"{folder} holds a run of other settings; delete it first")
    if kind is HSTUModel and not about["has_times"]:
        sys.exit("HSTU reads times, and these events have none")
    write(folder / "order.json", json.dumps(order, indent=1))
    if (folder / "run.json").exists():
        print(f"{folder} is finished")
        return

    seed_everything(given.seed, workers=True)
    torch.use_deterministic_algorithms(True)
    dataset, requests = read(given.export)
    model = kind(
        **settings,
        lightning_module_type=Module,
        item_net_block_types=(IdEmbeddingsItemNet,),
        get_val_mask_func=leave_one_out_mask,
        get_val_mask_func_kwargs={"val_users": requests[Columns.User].tolist()},
        get_trainer_func=lambda: trainer(folder, given, about["protocol"]["exclude_seen"]),
    )
    model.fit(dataset)
    found = facts(model, model.require_recommend_context)
    best = torch.load(folder / "best.ckpt", weights_only=False)
    model.lightning_model.load_state_dict(best["state_dict"])
    with (folder / "scores.part").open("wb") as file:
        np.save(file, score(model, dataset, requests, about["items"]))
    (folder / "scores.part").replace(folder / "scores.npy")
    write(folder / "run.json", json.dumps(found | {"order": order}, indent=1))


if __name__ == "__main__":
    main()
