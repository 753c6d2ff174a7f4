"""Runs side by side, each in a process of its own, within the cores of the machine."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydrarec.compare.plan import Job, Plan, Slot
from hydrarec.errors import InputError
from hydrarec.files import alone_in
from hydrarec.progress import Progress, Task

_LOOK = 0.2  # seconds between looks at the processes


@dataclass(kw_only=True)
class _Child:
    job: Job
    process: "subprocess.Popen[bytes]"
    said: Path


class Pool:
    """Starts what the plan gives as soon as a process is free, until nothing is left.

    Attributes:
        failed: the error of each run that ended with one, by name.
    """

    def __init__(self, plan: Plan, datasets: dict[str, Path], *, jobs: int, log: Callable[[str], None]) -> None:
        self.plan, self.datasets, self.jobs, self.log = plan, datasets, jobs, log
        self.failed: dict[str, str] = {}
        self.running: dict[str, _Child] = {}
        cores = os.cpu_count() or 1
        self.environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(max(1, cores // jobs)),
            "OMP_WAIT_POLICY": "PASSIVE",
            "GOMP_SPINCOUNT": "0",
        }

    def run(self, progress: Progress) -> None:
        slots = self.plan.slots()
        open_slots = [slot for slot in slots if self.plan.finished(slot) is None]
        done = len(slots) - len(open_slots)
        with progress.task("compare", total=len(slots), done=done, unit="runs") as task, self._ended():
            while open_slots:
                self._collect(task)
                open_slots = [slot for slot in open_slots if self._is_open(slot, task)]
                for slot in open_slots:
                    if len(self.running) < self.jobs and slot.name not in self.running:
                        self._start(slot)
                task.advance(0, ", ".join(self._standing(child) for child in self.running.values()))
                if open_slots:
                    time.sleep(_LOOK)

    def _is_open(self, slot: Slot, task: Task) -> bool:
        if slot.name in self.running:
            return True
        if slot.name in self.failed:
            return False
        if self.plan.file(slot).exists():
            task.advance(1)
            return False
        return True

    def _start(self, slot: Slot) -> None:
        job = self.plan.job(slot, self.failed)
        if job is None:
            if not self._waits(slot):
                self.failed[slot.name] = "no trial of its settings was finished"
            return
        if _busy(job.folder):  # another comparison is at it
            return
        said = job.folder.parent / f"{job.folder.name}.log"
        with said.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "hydrarec.compare.work"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,  # Ctrl-C is for this process, which ends the others
            )
        assert process.stdin is not None
        process.stdin.write(json.dumps(self._order(job)).encode() + b"\n")
        process.stdin.flush()
        self.running[slot.name] = _Child(job=job, process=process, said=said)

    def _waits(self, slot: Slot) -> bool:
        """Whether a trial that the slot needs may still be finished."""
        trials = [each for each in self.plan.slots() if each.trial and each.model == slot.model]
        return any(each.name not in self.failed and not self.plan.file(each).exists() for each in trials)

    def _order(self, job: Job) -> dict[str, Any]:
        slot = job.slot
        about = {"table": slot.table.name, "model": slot.model.label, "dataset": slot.table.data.name}
        if job.point:
            about["point"] = list(job.point)  # type: ignore[assignment]
        return {
            "dataset": str(self.datasets[slot.table.data.name]),
            "folder": str(job.folder),
            "file": str(self.plan.file(slot)),
            "settings": job.settings.to_dict(),
            "protocol": slot.table.protocol.to_dict(),
            "test": slot.trial is None,
            "about": about,
        }

    def _collect(self, task: Task) -> None:
        for name, child in list(self.running.items()):
            code = child.process.poll()
            if code is None:
                continue
            del self.running[name]
            if child.process.stdin is not None:
                child.process.stdin.close()
            if code == 0:
                self.log(f"{name}: done")
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
                child.process.wait()

    def _standing(self, child: _Child) -> str:
        """How far a run is: its epochs."""
        log = child.job.folder / "log.jsonl"
        epochs = log.read_bytes().count(b"\n") if log.exists() else 0
        return f"{child.job.slot.name} {epochs}/{child.job.settings.train.epochs}"


def _busy(folder: Path) -> bool:
    try:
        with alone_in(folder):
            return False
    except InputError:
        return True


def _last_line(file: Path) -> str:
    lines = file.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
