"""What a person sees: messages and progress on standard error, tables on standard output."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Any

from rich import box, progress
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

WIDTH = 80  # columns that a table may take
LINE_SECONDS = 5.0  # plain lines come no more often than this

Cell = str | int | float | None


@lru_cache(maxsize=1)
def console() -> Console:
    """The one console on standard error. Sharing it keeps messages above a running bar."""
    return Console(stderr=True)


def say(message: str) -> None:
    """Print a line to standard error."""
    console().print(message, markup=False, highlight=False, soft_wrap=True)


class Task(ABC):
    """One piece of work whose progress is shown."""

    @abstractmethod
    def advance(self, n: int = 1, text: str | None = None) -> None:
        """``n`` more units are done. ``text`` (a loss, a validation figure) replaces the one shown before."""


class Progress(ABC):
    """Shows how far work is: ``with progress.task("train", total=n) as task: task.advance(k, "loss 5.31")``."""

    @abstractmethod
    def task(
        self, description: str, total: int | None = None, *, done: int = 0, unit: str = "events"
    ) -> AbstractContextManager[Task]:
        """A task of ``total`` units (None: not known) of which ``done`` were done before. Tasks may nest."""


def counter(task: Task) -> Callable[[int, int], None]:
    """Turn calls with (units done, all units) into steps of ``task``."""
    before = 0

    def count(done: int, total: int) -> None:
        nonlocal before
        task.advance(done - before)
        before = done

    return count


def reporter(json: bool = False) -> Progress:
    """Silent for ``--json``, a bar on a terminal, and lines now and then anywhere else."""
    if json:
        return Silent()
    return Bars() if console().is_terminal else Lines()


class Silent(Progress, Task):
    """Shows nothing."""

    @contextmanager
    def task(
        self, description: str, total: int | None = None, *, done: int = 0, unit: str = "events"
    ) -> Iterator[Task]:
        yield self

    def advance(self, n: int = 1, text: str | None = None) -> None:
        pass


class Lines(Progress):
    """A line every few seconds, and one at the end of each task."""

    def __init__(self, seconds: float = LINE_SECONDS) -> None:
        self.seconds = seconds

    @contextmanager
    def task(
        self, description: str, total: int | None = None, *, done: int = 0, unit: str = "events"
    ) -> Iterator[Task]:
        line = _Line(description, total, done, unit, self.seconds)
        yield line
        line.end()


class _Line(Task):
    def __init__(self, description: str, total: int | None, done: int, unit: str, seconds: float) -> None:
        self.description, self.total, self.unit, self.seconds = description, total, unit, seconds
        self.before = self.done = done
        self.text = ""
        self.began = self.said = time.monotonic()

    def advance(self, n: int = 1, text: str | None = None) -> None:
        self.done += n
        self.text = self.text if text is None else text
        now = time.monotonic()
        if now - self.said < self.seconds:
            return
        self.said = now
        rate = (self.done - self.before) / max(now - self.began, 1e-9)
        parts = [f"{self.description}: {self.done:,} {self.unit}", f"{rate:,.0f} {self.unit}/s"]
        if self.total:
            parts[0] = f"{self.description}: {self.done / self.total:.0%} of {self.total:,} {self.unit}"
        if self.total and rate:
            parts.append(f"{_clock((self.total - self.done) / rate)} left")
        say(", ".join(part for part in [*parts, self.text] if part))

    def end(self) -> None:
        seconds = time.monotonic() - self.began
        parts = [f"{self.description}: {self.done:,} {self.unit} in {seconds:.1f} s", self.text]
        say(", ".join(part for part in parts if part))


class Bars(Progress):
    """A bar for each running task; a nested one goes away when it ends, the outermost stays."""

    def __init__(self) -> None:
        self.bars = _bars()
        self.running = 0

    @contextmanager
    def task(
        self, description: str, total: int | None = None, *, done: int = 0, unit: str = "events"
    ) -> Iterator[Task]:
        if not self.running:
            self.bars = _bars()  # a new one: the old ones stay on the screen as they ended
            self.bars.start()
        self.running += 1
        # The speed is measured from the first advance: what was done before does not count.
        key = self.bars.add_task(description, total=total, completed=done, unit=unit, text="")
        try:
            yield _Bar(self.bars, key)
        finally:
            self.running -= 1
            if self.running:
                self.bars.remove_task(key)
            else:
                self.bars.stop()


def _bars() -> progress.Progress:
    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=12),
        progress.TaskProgressColumn(),
        _Rate(table_column=Column(no_wrap=True)),
        progress.TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        progress.TextColumn(
            "{task.fields[text]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
        ),
        console=console(),
    )


class _Bar(Task):
    def __init__(self, bars: progress.Progress, key: progress.TaskID) -> None:
        self.bars, self.key = bars, key

    def advance(self, n: int = 1, text: str | None = None) -> None:
        fields: dict[str, Any] = {} if text is None else {"text": text}
        self.bars.update(self.key, advance=n, **fields)


class _Rate(progress.ProgressColumn):
    def render(self, task: progress.Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} {task.fields['unit']}/s")


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print a table to standard output, at most 80 columns wide; text that is too long ends in an ellipsis.

    Numbers stand to the right, whole ones with separators and others with four places; None is left empty.
    """
    output = Console()
    grid = Table(title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    for position, name in enumerate(columns):
        number = all(isinstance(row[position], int | float | None) for row in rows)
        grid.add_column(Text(name), justify="right" if number else "left", no_wrap=number)
    for row in rows:
        grid.add_row(*(Text(_shown(cell), overflow="ellipsis", no_wrap=True) for cell in row))
    output.print(grid, width=min(WIDTH, output.width))


def _shown(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.4f}"
    return f"{cell:,}" if isinstance(cell, int) else cell
