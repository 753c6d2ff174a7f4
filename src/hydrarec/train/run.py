"""The run folder: everything that training made, readable on another machine without pickle."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from hydrarec import processes
from hydrarec._version import __version__
from hydrarec.data.folder import read_parquet
from hydrarec.data.protocol import Protocol
from hydrarec.data.rows import in_rows
from hydrarec.data.store import Dataset, NeverError
from hydrarec.errors import InputError, first_line
from hydrarec.files import read_json, whole_file, whole_folder, write_json
from hydrarec.items.contract import ItemEncoder
from hydrarec.items.digest import digest
from hydrarec.items.make import rows_of, saved_items
from hydrarec.items.shards import SHARD, load_shards, save_shard
from hydrarec.items.vocabulary import Vocabulary
from hydrarec.models.contract import Model
from hydrarec.models.neural import NeuralModel
from hydrarec.models.registry import model_classes
from hydrarec.train.settings import Settings

FORMAT = "hydrarec-run"
VERSION = 4


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as its folder describes it.

    Attributes:
        dataset: what it was trained on: path, fingerprint, users, items, events; and ``days``, how often it went on.
        metrics: the content of ``metrics.json``; empty while training is not finished.
        vocabulary: ``items`` and ``digest``: how many ids it was written with, and the ``digest`` of these; later ones
            follow them. None: it was written before runs knew that.
    """

    path: Path
    settings: Settings
    protocol: Protocol
    dataset: dict[str, Any]
    metrics: dict[str, Any]
    vocabulary: dict[str, Any] | None = None

    @property
    def finished(self) -> bool:
        return bool(self.metrics)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def table(self) -> Path:
        """Where the table of items lies, if it has files of its own (``items.storage=mapped``, ``sharded``)."""
        return self.path / "table"

    def items(self) -> pa.Table:
        """The catalog in row order: the caller's ids and text columns.

        Raises:
            InputError: it cannot be read, or is that of another data set.
        """
        file, remedy = self.path / "items.parquet", "copy the whole run folder, or train again"
        try:
            table = read_parquet(file)
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"{file} cannot be read ({error}); {remedy}") from error
        if self.vocabulary and _vocabulary(table, self.vocabulary["items"]) != self.vocabulary:
            raise InputError(f"{file} is a vocabulary from another data set, not that of the run; {remedy}")
        return table

    def model(self) -> Model:
        """The trained model; of a sharded table, each of several processes reads its own rows.

        Raises:
            InputError: training is not finished, or the weights are damaged.
        """
        if not self.finished:
            raise InputError(f"the training of {self.path} is not finished; run `hydrarec train` with --resume auto")
        file = self.path / "model.safetensors"
        _, model = model_classes(self.settings.name)
        n_items = self.items().num_rows
        items: ItemEncoder | int = n_items
        try:
            tensors = {name: rows_of(name, value, n_items) for name, value in load_file(file).items()}
            if self.settings.items.storage == "sharded":
                shard = load_shards(self.table, n_items, processes.rank(), processes.world())
                place = SHARD if processes.world() > 1 else "items."
                tensors |= {f"{place}{name}": rows for name, rows in shard.items()}
            if issubclass(model, NeuralModel):
                width = self.settings.model.d_model
                items = saved_items(self.settings.items, n_items, width, tensors, self.table)
            return model.from_tensors(self.settings.model, items, tensors)
        except (SafetensorError, OSError, RuntimeError, KeyError) as error:
            raise InputError(
                f"{file} is damaged ({first_line(error)}); copy the whole run folder, or train again"
            ) from error

    def open_dataset(self, path: Path | None = None) -> Dataset:
        """The data set it was trained on, with the items that it has rows for, from where it was, or from ``path``.

        Raises:
            InputError: it is not there, or is another one.
        """
        dataset = self.open_events(path)
        if not self.dataset.get("days"):
            return dataset
        table = self.items()
        return in_rows(dataset, Vocabulary(table["item"]).rows(dataset.item_table["item"]), table)

    def open_events(self, path: Path | None = None) -> Dataset:
        """The same with all its items, as it lies there.

        Raises:
            InputError: it is not there, or is another one.
        """
        place = path or _resolve(self.path, self.dataset["path"])
        if place is None or not place.exists():
            raise InputError(f"the data set of {self.path} is not at {place}; name it with --dataset")
        try:
            return Dataset.open(place, upto=self.dataset["fingerprint"])
        except NeverError as error:
            raise InputError(
                f"{place} is not the data set that {self.path} was trained on; name that with --dataset"
            ) from error


def open_run(path: Path) -> Run:
    """Read a run folder.

    Raises:
        InputError: it is none, is damaged, or was made by another version.
    """
    path = Path(path)
    if not (path / "config.json").exists():
        raise InputError(f"{path} is not a run folder (no config.json); `hydrarec train SOURCE --out {path}` makes one")
    remedy = "train again into another folder"
    config = read_json(path / "config.json", remedy=remedy)
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise InputError(f"{path / 'config.json'} does not describe a run; {remedy}")
    if not {"version", "settings", "dataset"} <= set(config) or not isinstance(config["version"], int):
        raise InputError(f"{path / 'config.json'} is damaged; {remedy}")
    if config["version"] > VERSION:
        made_by = config.get("hydrarec", "a newer version")
        raise InputError(f"{path} was made by hydrarec {made_by}, this is {__version__}; upgrade hydrarec to read it")
    if config["version"] < VERSION:
        was = f"format {config['version']}, this one reads {VERSION}"
        raise InputError(f"{path} was made by an older hydrarec ({was}); {remedy}")
    metrics = path / "metrics.json"
    return Run(
        path=path,
        settings=Settings.from_dict(config["settings"], str(path / "config.json")),
        protocol=Protocol.from_dict(read_json(path / "protocol.json", remedy=remedy)),
        dataset=config["dataset"],
        metrics=read_json(metrics, remedy=remedy) if metrics.exists() else {},
        vocabulary=config.get("vocabulary"),
    )


def files_of(path: Path) -> list[Path]:
    """What a run is read from; another day of events, or other items, replace them."""
    return [path / name for name in ("config.json", "metrics.json", "items.parquet", "model.safetensors", "table")]


def begin_run(path: Path, settings: Settings, protocol: Protocol, dataset: Dataset) -> Run:
    """Write what is known before training."""
    path.mkdir(parents=True, exist_ok=True)
    with whole_file(path / "items.parquet") as temporary:
        pq.write_table(dataset.item_table, temporary)
    write_json(path / "protocol.json", protocol.to_dict())
    write_config(path, settings, describe_dataset(path, dataset), dataset.item_table)
    return open_run(path)


def describe_dataset(path: Path, dataset: Dataset) -> dict[str, Any]:
    """What the run in ``path`` remembers of its data set."""
    return {
        "path": _relative(path, dataset.path),
        "fingerprint": dataset.fingerprint,
        "users": dataset.n_users,
        "items": dataset.n_items,
        "events": dataset.n_events,
    }


def write_config(path: Path, settings: Settings, dataset: dict[str, Any], items: pa.Table) -> None:
    """Write ``config.json`` of a run with these ``items``."""
    head = {"format": FORMAT, "version": VERSION, "hydrarec": __version__}
    said = {"settings": settings.to_dict(), "dataset": dataset, "vocabulary": _vocabulary(items, items.num_rows)}
    write_json(path / "config.json", {**head, **said})


def _vocabulary(items: pa.Table, n: int) -> dict[str, Any]:
    """What a run remembers of its first ``n`` ids."""
    ids = items["item"].slice(0, n)
    return {"items": len(ids), "digest": digest(ids)}


def finish_run(run: Run, model: Model, metrics: dict[str, Any]) -> Run:
    """Write the model, then the metrics, which mark the run as finished.

    The first process writes; of a sharded table each process writes its rows.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.tensors().items()}
    of_shard = [name for name in tensors if name.startswith(SHARD)]
    if run.settings.items.storage == "sharded" and not of_shard:  # one process has opened it as a plain table
        of_shard = ["items.weight", "items.squares"]
    shard = {name.rpartition(".")[2]: tensors.pop(name) for name in of_shard}
    if not processes.is_first():
        if shard:
            save_shard(Path(processes.from_first("")), shard)
        return replace(run, metrics=metrics)
    if shard:
        with whole_folder(run.table, overwrite=True) as folder:
            processes.from_first(str(folder.resolve()))
            save_shard(folder, shard)
    with whole_file(run.path / "model.safetensors") as temporary:
        save_file(tensors, temporary)
    write_json(run.path / "metrics.json", metrics)
    return open_run(run.path)


def change_items(run: Run, model: Model, items: pa.Table) -> None:
    """Give a finished run a catalog that has grown, or other text; the old rows stay where they are.

    The item table is written after the model, and says how many items there are: ended before, nothing has been added.
    Ended after it, the run remembers the ids that it had, which are still the first.
    """
    with whole_file(run.path / "model.safetensors") as temporary:
        save_file({name: value.detach().cpu().contiguous() for name, value in model.tensors().items()}, temporary)
    with whole_file(run.path / "items.parquet") as temporary:
        pq.write_table(items, temporary)
    write_config(run.path, run.settings, run.dataset, items)


def _relative(run: Path, dataset: Path | None) -> str | None:
    """Inside the run folder the path is relative, so that the folder can move."""
    if dataset is None:
        return None
    dataset, run = dataset.resolve(), run.resolve()
    return str(dataset.relative_to(run)) if dataset.is_relative_to(run) else str(dataset)


def _resolve(run: Path, dataset: str | None) -> Path | None:
    return None if dataset is None else run / dataset
