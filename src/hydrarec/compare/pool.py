"""Runs side by side, each in a process of its own, within the cores of the machine."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from hydrarec.compare.plan import Job, Plan, Slot
from hydrarec.compare.standing import Standing
from hydrarec.compare.version import code_version
from hydrarec.compare.work import work_apart
from hydrarec.errors import InputError
from hydrarec.evaluate.metrics import SELECTION_METRIC
from hydrarec.files import read_json
from hydrarec.machine import cores
from hydrarec.progress import Progress
from hydrarec.sharing import alone_in

_LOOK = 0.3  # seconds between looks at the processes
# One process has imported all that a run needs, and the runs are its forks: they begin at once and share that memory.
if sys.platform != "win32":
    _CONTEXT = get_context("forkserver")
else:
    _CONTEXT = get_context("spawn")
_CONTEXT.set_forkserver_preload(["hydrarec.compare.work", "pandas"])  # pyarrow loads pandas, where it is installed


@dataclass(kw_only=True)
class _Child:
    job: Job
    process: BaseProcess
    giver: Connection
    said: Path


def threads_of(jobs: int) -> dict[str, str]:
    """Environment of so many processes that share the cores: threads that wait must sleep."""
    return {
        "OMP_NUM_THREADS": str(max(1, cores() // jobs)),
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
    }


class Pool:
    """Starts what the plan gives as soon as a process is free, until nothing is left.

    Attributes:
        failed: the error of each run that ended with one, by name.
    """

    def __init__(self, plan: Plan, datasets: dict[str, Path], *, jobs: int, log: Callable[[str], None]) -> None:
        self.plan, self.datasets, self.jobs, self.log = plan, datasets, jobs, log
        self.failed: dict[str, str] = {}
        self.before: dict[str, int | None] = {}  # when the file of what is to be run was last written
        self.running: dict[str, _Child] = {}
        self.environment = {**os.environ, **threads_of(jobs)}
        self.commit = code_version()  # before anybody changes the files that the processes read

    def run(self, progress: Progress) -> None:
        waiting = [slot for slot in self.plan.slots() if self.plan.finished(slot) is None]
        self.before = {slot.name: _written(self.plan.file(slot)) for slot in waiting}
        standing = Standing(self.plan, waiting)
        with progress.task("compare", total=standing.total, unit="epochs") as task, self._ended():
            while waiting:
                self._collect()
                for slot in [slot for slot in waiting if self._over(slot)]:
                    waiting.remove(slot)
                    standing.end(slot.name)
                for slot in waiting:
                    if len(self.running) < self.jobs and slot.name not in self.running:
                        self._start(slot)
                standing.show(task, [child.job for child in self.running.values()])
                if waiting:
                    time.sleep(_LOOK)

    def _over(self, slot: Slot) -> bool:
        if slot.name in self.running:
            return False
        return slot.name in self.failed or self._done(slot)

    def _done(self, slot: Slot) -> bool:
        """Whether the result is there; that of a model as it was (``forms.FORMS``) must have been written anew."""
        return slot.name not in self.before or _written(self.plan.file(slot)) != self.before[slot.name]

    def _start(self, slot: Slot) -> None:
        job = self.plan.job(slot, self.failed)
        if job is None:
            if not self._may_come(slot):
                self.failed[slot.name] = "no trial of its settings was finished"
            return
        if _busy(job.folder):  # another comparison is at it
            return
        said = job.folder.parent / f"{job.folder.name}.log"
        order = {**self._order(job), "environment": self.environment, "said": str(said)}
        taker, giver = _CONTEXT.Pipe(duplex=False)
        process = _CONTEXT.Process(target=work_apart, args=(order, taker), name=slot.name)
        with _environment(threads_of(self.jobs)):  # of the process that is forked, when it begins
            process.start()
        taker.close()
        self.running[slot.name] = _Child(job=job, process=process, giver=giver, said=said)

    def _may_come(self, slot: Slot) -> bool:
        """Whether a trial that the slot waits for may still be finished."""
        trials = self.plan.trials(slot.table, slot.model)
        return any(each.name not in self.failed and not self._done(each) for each in trials)

    def _order(self, job: Job) -> dict[str, Any]:
        slot = job.slot
        about: dict[str, Any] = {"table": slot.table.name, "model": slot.model.label, "dataset": slot.table.data.name}
        about["commit"] = self.commit
        if job.point:
            about["point"] = list(job.point)
        return {
            "dataset": str(self.datasets[slot.table.data.name]),
            "folder": str(job.folder),
            "file": str(self.plan.file(slot)),
            "settings": job.settings.to_dict(),
            "protocol": slot.table.protocol.to_dict(),
            "part": self.plan.spec.part if slot.trial is None else None,
            "about": about,
        }

    def _collect(self) -> None:
        for name, child in list(self.running.items()):
            code = child.process.exitcode
            if code is None:
                continue
            del self.running[name]
            child.giver.close()
            if code == 0:
                self.log(f"{name}: {_said_of(read_json(self.plan.file(child.job.slot), remedy='run it again'))}")
            else:
                self.failed[name] = f"{_last_line(child.said) or f'ended with code {code}'} (see {child.said})"
                self.log(f"{name}: {self.failed[name]}")

    @contextmanager
    def _ended(self) -> Iterator[None]:
        """Whatever happens, no process is left behind."""
        try:
            yield
        finally:
            for child in self.running.values():
                child.process.terminate()
            for child in self.running.values():
                child.process.join()


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _written(file: Path) -> int | None:
    return file.stat().st_mtime_ns if file.exists() else None


def _busy(folder: Path) -> bool:
    try:
        with alone_in(folder):
            return False
    except InputError:
        return True


def _said_of(found: dict[str, Any]) -> str:
    """A finished run in a line."""
    validation, metrics = found["validation"], found.get("metrics")
    parts = [
        f"validation {SELECTION_METRIC} {validation[SELECTION_METRIC]:.4f}" if validation else "",
        f"{found['seconds']:,.0f} s",
    ]
    parts += [f"epoch {found['best_epoch']} of {found['epochs']}" if validation and found["best_epoch"] else ""]
    parts += [f"{found['part']} {SELECTION_METRIC} {metrics[SELECTION_METRIC]:.4f}" if metrics else ""]
    return ", ".join(part for part in parts if part)


def _last_line(file: Path) -> str:
    lines = file.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
