"""What a measurement yields: the value of a figure, and a row for everything that was run for it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hydrarec.bench.measure import Timing, Variant


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured: a variant and what the row says of it.

    Attributes:
        variant: what runs.
        events: events that one call goes through; only real ones count.
        work: what one call does, such as ``training step``.
        shape: of the input.
        length: events of each history, where all are equally long.
        parameters: of the encoder.
        flops: floating-point operations of one call, counted by hand, where a rate is asked for.
        note: what a reader must know.
    """

    variant: Variant
    events: int
    work: str
    shape: str
    length: int | None = None
    parameters: int | None = None
    flops: float | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; times are medians of ``rounds`` rounds, ``spread`` is that of ``Timing``."""

    figure: str = ""
    name: str
    work: str
    shape: str
    length: int | None
    threads: int
    parameters: int | None
    events_per_s: float
    us_per_event_wall: float
    us_per_event_cpu: float
    us_per_call_wall: float
    gflops: float | None
    spread: float
    rounds: int
    note: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, those that are not there left out."""
        return {key: value for key, value in asdict(self).items() if value not in (None, "")}


@dataclass(frozen=True)
class Measured:
    """The value of a figure, and the rows that it was computed from."""

    value: float
    rows: list[Row]


def row(name: str, subject: Subject, timing: Timing) -> Row:
    wall, cpu = timing.wall_median, timing.cpu_median
    return Row(
        name=name,
        work=subject.work,
        shape=subject.shape,
        length=subject.length,
        threads=subject.variant.threads,
        parameters=subject.parameters,
        events_per_s=subject.events / wall,
        us_per_event_wall=1e6 * wall / subject.events,
        us_per_event_cpu=1e6 * cpu / subject.events,
        us_per_call_wall=1e6 * wall,
        gflops=None if subject.flops is None else subject.flops / wall / 1e9,
        spread=timing.spread,
        rounds=timing.rounds,
        note=subject.note,
    )


def rows(subjects: Mapping[str, Subject], timings: Mapping[str, Timing]) -> dict[str, Row]:
    return {name: row(name, subject, timings[name]) for name, subject in subjects.items()}
