"""All runs of a comparison, and which of them can begin: a function of its file and of the results that are there."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydrarec.compare.choices import Point, counts, points, settings_of
from hydrarec.compare.forms import is_former
from hydrarec.compare.spec import ModelSpec, Spec, Table
from hydrarec.data.protocol import Protocol
from hydrarec.errors import InputError
from hydrarec.evaluate.metrics import SELECTION_METRIC
from hydrarec.files import read_json
from hydrarec.train.resume import difference
from hydrarec.train.settings import Settings

TRIALS = "/tuning"  # where the results of trials are, in the folder of a table


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where results (to keep) and run folders (to throw away) are."""

    results: Path
    runs: Path


@dataclass(frozen=True, kw_only=True)
class Part:
    """The labels and tables asked for; without any, all."""

    labels: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A run that the comparison has: a row's seed, or a trial of its settings (from 1)."""

    table: Table
    model: ModelSpec
    seed: int
    trial: int | None = None

    @property
    def name(self) -> str:
        number = f"{self.model.label}-{self.seed if self.trial is None else self.trial}"
        return f"{self.table.name}/{number}" if self.trial is None else f"{self.table.name}{TRIALS}/{number}"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A slot whose settings are known."""

    slot: Slot
    settings: Settings
    folder: Path
    point: Point


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What ``part`` of the comparison needs, in the order to run it.

    Attributes:
        former: whether results of models as they were once (``forms.FORMS``) count: to be shown; they are run again.
    """

    spec: Spec
    places: Places
    part: Part = field(default_factory=Part)
    former: bool = False

    def tables(self) -> list[Table]:
        return [table for table in self.spec.tables() if not self.part.tables or table.name in self.part.tables]

    def models(self, table: Table) -> list[ModelSpec]:
        asked = [model for model in self.spec.model if not self.part.labels or model.label in self.part.labels]
        return [model for model in asked if not {table.name, table.data.name} & set(model.skip)]

    def slots(self) -> list[Slot]:
        """Table by table: trials of settings, then the first seed of every model, then the next."""
        found: dict[str, Slot] = {}
        for table in self.tables():
            own = [slot for model in self.models(table) for slot in self.trials(table, model)]
            for seed in self.spec.seeds:
                own += [slot for model in self.models(table) for slot in self._seed(table, model, seed)]
            for slot in own:
                found.setdefault(slot.name, slot)
        return list(found.values())

    def file(self, slot: Slot) -> Path:
        return self.places.results / f"{slot.name}.json"

    def job(self, slot: Slot, given_up: Collection[str] = ()) -> Job | None:
        """The run of a slot, or None while trials of its settings are not finished.

        Args:
            given_up: names of slots that are not waited for.
        """
        tried = points(self.spec, slot.model)
        folder, trial = self.places.runs / slot.name, slot.trial
        if trial is None and slot.model.grid:
            trial = self._chosen(slot, given_up)
            if trial is None:
                return None
            same = next(s for s in self.trials(slot.table, slot.model) if s.trial == trial)
            if same.table == slot.table and same.seed == slot.seed:
                folder = self.places.runs / same.name  # trained already; what is missing is the test
        point = tried[(trial or 1) - 1]
        settings = settings_of(self.spec, slot.table, slot.model, point, slot.seed)
        return Job(slot=slot, settings=settings, folder=folder, point=point)

    def finished(self, slot: Slot) -> dict[str, Any] | None:
        """What the file of a slot says; None where there is none.

        Raises:
            InputError: it was made with other settings than those that the comparison now has, or, where the comparison
                does not run it, under another protocol.
        """
        file = self.file(slot)
        if not file.exists():
            return None
        found: dict[str, Any] = read_json(file, remedy="restore it, or delete it to run again")
        former = slot.model.runs_here and is_former(found)
        if former and not self.former:
            return None
        if slot.model.runs_here and not former:  # whose settings were others
            job = self.job(slot)
            other = _difference(found, job) if job else None
        else:
            other = _other_protocol(found, slot.table.protocol)
        if other:
            raise InputError(f"{file} was made with other settings ({other}); delete it to run again")
        if slot.trial is None and found.get("part", "test") != self.spec.part:
            raise InputError(f"{file} was measured on {found.get('part', 'test')}, not {self.spec.part}; delete it")
        return found

    def trials(self, table: Table, model: ModelSpec) -> Iterator[Slot]:
        """The runs that choose the settings of ``model`` in ``table``, which may be runs of another table."""
        if not model.grid:
            return
        chooser = self.spec.chooser(table)
        if chooser is None:
            raise InputError(
                f"model {model.label} has a grid and {table.name} no validation to choose by; "
                f"give data {table.data.name} protocol loo too"
            )
        for trial in range(1, len(points(self.spec, model)) + 1):
            yield Slot(table=chooser, model=model, seed=self.spec.seeds[0], trial=trial)

    def _seed(self, table: Table, model: ModelSpec, seed: int) -> Iterator[Slot]:
        if not model.runs_here:
            slot = Slot(table=table, model=model, seed=seed)
            if self.file(slot).exists():
                yield slot
        elif seed == self.spec.seeds[0] or not counts(self.spec, table, model):
            yield Slot(table=table, model=model, seed=seed)

    def _chosen(self, slot: Slot, given_up: Collection[str]) -> int | None:
        """The best trial on validation, the first of equals."""
        best, chosen = -1.0, None
        for trial in self.trials(slot.table, slot.model):
            found = self.finished(trial)
            if found is None:
                if trial.name not in given_up:
                    return None
            elif found["validation"][SELECTION_METRIC] > best:
                best, chosen = found["validation"][SELECTION_METRIC], trial.trial
        return chosen


def _difference(found: dict[str, Any], job: Job) -> str | None:
    """The first setting in which a result is another run than ``job``."""
    try:
        made = Settings.from_dict(found["recipe"], "recipe").to_dict()
    except (InputError, KeyError, TypeError) as error:
        return str(error)
    return difference(made, job.settings.to_dict()) or _other_protocol(found, job.slot.table.protocol)


def _other_protocol(found: dict[str, Any], protocol: Protocol) -> str | None:
    try:
        made = Protocol.from_dict(found["protocol_fields"]).to_dict()
    except (InputError, KeyError, TypeError) as error:
        return str(error)
    return difference({"protocol": made}, {"protocol": protocol.to_dict()})
