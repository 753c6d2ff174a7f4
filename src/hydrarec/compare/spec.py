"""The comparison as its TOML file describes it: data sets, protocols, models, seeds."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hydrarec.config import build, nearest
from hydrarec.data.protocol import Protocol, SplitName
from hydrarec.errors import InputError
from hydrarec.evaluate.metrics import SELECTION_K

_COLUMNS = ("user", "item", "time", "rating", "domain", "min_user", "min_item", "memory")


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """A data set, and the protocols it is measured under.

    Attributes:
        name: results are in ``NAME-PROTOCOL``.
        source: events, or a prepared data set; relative to where the command runs, as every path here. Several are
            domains of one data set.
        items: item text; where there are several sources, one for each.
        protocols: each makes one table.
        protocol: fields that differ from those that the protocol's name stands for.
        columns: keywords of ``prepare``; ``time = false`` where the rows are in order without times.
        train: settings of ``[train]`` that are others on this data, for all models alike.
    """

    name: str
    source: str | tuple[str, ...]
    items: str | tuple[str, ...] | None = None
    protocols: tuple[SplitName, ...] = ("time",)
    protocol: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _safe(self.name, "data.name")
        for key in self.columns:
            if key not in _COLUMNS:
                raise InputError(f"columns of data {self.name} have no {key!r}{nearest(key, _COLUMNS)}")


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A row of every table.

    Attributes:
        label: what the row's files are called: ``LABEL-SEED.json``.
        title: what people read.
        recipe: file of settings; ``{data}`` stands for the data set's name. Its protocol is not used.
        name: the model; None: the recipe's.
        set: settings over the recipe's.
        on: more of them, by data set or table.
        skip: data sets or tables without this row.
        grid: values to choose from on validation, by setting.
        ours: the others are its rivals.
        external: another program writes its result files (benchmarks/rectools).
        removed: its setting no longer exists; what was measured before stays.
        published: its NDCG@10 in the literature, by table, to hold ours against.
    """

    label: str
    title: str = ""
    recipe: str | None = None
    name: str | None = None
    set: tuple[str, ...] = ()
    on: dict[str, Any] = field(default_factory=dict)
    skip: tuple[str, ...] = ()
    grid: dict[str, Any] = field(default_factory=dict)
    ours: bool = False
    external: bool = False
    removed: bool = False
    published: dict[str, Any] = field(default_factory=dict)

    @property
    def runs_here(self) -> bool:
        """Whether missing results are run; of a row that is not run, there is what files there are."""
        return not (self.external or self.removed)

    def __post_init__(self) -> None:
        _safe(self.label, "model.label")
        if self.removed and (self.set or self.on or self.grid):
            raise InputError(f"model {self.label} is removed: its settings are gone; leave out set, on and grid")
        for key, values in self.grid.items():
            if not isinstance(values, list) or not values:
                raise InputError(f"model {self.label}: grid.{key} is {values!r}; it must be a list of values")
        for key, values in self.on.items():
            if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
                raise InputError(f"model {self.label}: on.{key} is {values!r}; it must be a list of section.key=value")
        for key, value in self.published.items():
            if not isinstance(value, float) or not 0 < value < 1:
                raise InputError(f"model {self.label}: published.{key} is {value!r}; it must be an NDCG@10, in (0, 1)")


@dataclass(frozen=True, kw_only=True)
class Table:
    """One data set under one protocol."""

    name: str
    data: DataSpec
    protocol: Protocol

    @property
    def validates(self) -> bool:
        return self.protocol.split != "hstu"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A whole comparison.

    Attributes:
        seeds: of the runs; trials of settings use the first.
        part: ``test``; or ``valid``, where every row is measured on the validation split and the test split left alone,
            as a choice between variants asks for.
        trials: how many points of its grid each model may try; the budget is the same for all.
        chosen_on: the table whose validation chooses the settings of all; None: each chooses its own.
        train: settings of training, the same for every model; a model cannot set them otherwise.
        loss: settings of the loss, likewise.
    """

    data: tuple[DataSpec, ...]
    model: tuple[ModelSpec, ...]
    seeds: tuple[int, ...] = (1, 2, 3)
    trials: int = 4
    chosen_on: str | None = None
    part: Literal["test", "valid"] = "test"
    train: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, values in (("seeds", self.seeds), ("data", self.data), ("model", self.model)):
            if not values:
                raise InputError(f"{what} must not be empty")
        if self.trials < 1:
            raise InputError(f"trials is {self.trials}; it must be at least 1")
        _distinct("seed", self.seeds)
        _distinct("model label", [model.label for model in self.model])
        tables = [table.name for table in self.tables()]
        _distinct("table", tables)
        if self.chosen_on is not None and self.chosen_on not in tables:
            raise InputError(f"chosen_on has an unknown table {self.chosen_on!r}{nearest(self.chosen_on, tables)}")
        if self.part == "valid":
            for table in self.tables():
                if not table.validates:
                    split = table.protocol.split
                    raise InputError(f"part is valid, and protocol {split} of {table.name} has no validation")
        for table in self.tables():
            if SELECTION_K not in table.protocol.cutoffs:
                raise InputError(f"data {table.data.name}: protocol.cutoffs must have {SELECTION_K}, which tables show")
        self._check_places({*tables}, {*tables, *(data.name for data in self.data)})

    def _check_places(self, tables: set[str], either: set[str]) -> None:
        for model in self.model:
            for where, keys, places in (
                ("on", model.on, either),
                ("skip", model.skip, either),
                ("published", model.published, tables),
            ):
                for key in keys:
                    if key not in places:
                        raise InputError(
                            f"model {model.label}: {where} has an unknown name {key!r}{nearest(key, places)}"
                        )

    def tables(self) -> list[Table]:
        """In the order of the file."""
        return [
            Table(name=f"{data.name}-{split}", data=data, protocol=Protocol.named(split, **data.protocol))
            for data in self.data
            for split in data.protocols
        ]

    def chooser(self, table: Table) -> Table | None:
        """The table whose validation chooses settings for ``table``: ``chosen_on``; else itself, or ``loo``'s where it
        has none."""
        if self.chosen_on is not None:
            return next(other for other in self.tables() if other.name == self.chosen_on)
        if table.validates:
            return table
        same = [other for other in self.tables() if other.data.name == table.data.name]
        return next((other for other in same if other.protocol.split == "loo"), None)


def read_spec(path: Path) -> Spec:
    """Read a comparison's file.

    Raises:
        InputError: it is missing, is not TOML, or says what cannot be done; the key is named.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"the comparison {path} does not exist; name a TOML file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"the comparison {path} cannot be read: {error}") from error
    try:
        return build(Spec, content, "comparison")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _safe(name: str, where: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise InputError(f"{where} is {name!r}; it names files, so use letters, digits, dots, - and _")


def _distinct(what: str, values: Iterable[Any]) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise InputError(f"{what} {value!r} stands there twice")
        seen.add(value)
