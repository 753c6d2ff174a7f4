"""How far a comparison is, counted in epochs."""

from collections.abc import Collection
from pathlib import Path

from hydrarec.compare.choices import points, settings_of
from hydrarec.compare.plan import Job, Plan, Slot
from hydrarec.models.neural import NeuralModel
from hydrarec.models.registry import model_classes
from hydrarec.progress import Task


class Standing:
    """Tells ``task`` of epochs as they end; an early stop takes the rest of its epochs with it."""

    def __init__(self, plan: Plan, slots: Collection[Slot]) -> None:
        self.weights = {slot.name: _epochs(plan, slot) for slot in slots}
        self.total = sum(self.weights.values())
        self.over: set[str] = set()
        self.shown = 0

    def end(self, name: str) -> None:
        """The run is done, or failed."""
        self.over.add(name)

    def done(self, running: Collection[Job] = ()) -> int:
        part = sum(min(epochs_of(job.folder), self.weights[job.slot.name]) for job in running)
        return sum(self.weights[name] for name in self.over) + part

    def show(self, task: Task, running: Collection[Job]) -> None:
        now = self.done(running)
        text = ", ".join(f"{job.slot.name} {epochs_of(job.folder)}/{job.settings.train.epochs}" for job in running)
        task.advance(now - self.shown, text)
        self.shown = now


def epochs_of(folder: Path) -> int:
    """Epochs that a run has logged."""
    log = folder / "log.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def _epochs(plan: Plan, slot: Slot) -> int:
    settings = settings_of(plan.spec, slot.table, slot.model, points(plan.spec, slot.model)[0], slot.seed)
    neural = issubclass(model_classes(settings.name)[1], NeuralModel)
    return settings.train.epochs if neural else 1
