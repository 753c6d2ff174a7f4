"""Interleaved measuring: every variant runs once a round, so that what disturbs the machine disturbs all of them."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median, quantiles

import torch

from hydrarec.bench.scale import Scale


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One of the things that are compared.

    Attributes:
        run: what is timed.
        threads: of torch, while it runs.
        repeat: calls of ``run`` that make one measurement, for what takes microseconds.
    """

    run: Callable[[], object]
    threads: int = 1
    repeat: int = 1


@dataclass(frozen=True)
class Timing:
    """Seconds of each round, of one call: on the clock, and of this process on all its threads."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    @property
    def rounds(self) -> int:
        return len(self.wall)

    @property
    def wall_median(self) -> float:
        return median(self.wall)

    @property
    def cpu_median(self) -> float:
        return median(self.cpu)

    @property
    def spread(self) -> float:
        """Range of the middle half of the rounds as a share of their median, on the clock; 0 for a single round."""
        if self.rounds < 2:
            return 0.0
        low, _, high = quantiles(self.wall, n=4, method="inclusive")
        return (high - low) / self.wall_median


def default_threads() -> int:
    """Two, or what torch may use where that is less."""
    return min(2, torch.get_num_threads())


@contextmanager
def threads(count: int) -> Iterator[None]:
    """torch on ``count`` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def interleave(variants: Mapping[str, Variant], scale: Scale, *, share: float = 1.0) -> dict[str, Timing]:
    """Measure all variants in turn, round after round; the first round warms up.

    Rounds go on until there are ``scale.rounds`` and ``scale.seconds`` have passed, and stop earlier where the next
    one would end after ``scale.limit``. If so few rounds fit that the first one counts, it does.

    Args:
        share: of the time of ``scale``, for a part of a measurement.
    """
    began = time.perf_counter()
    rounds: list[dict[str, tuple[float, float]]] = []
    longest = 0.0
    while True:
        start = time.perf_counter()
        if rounds and start - began + longest > share * scale.limit:
            break
        if len(rounds) > scale.rounds and start - began >= share * scale.seconds:
            break
        rounds.append({name: _once(variant) for name, variant in variants.items()})
        longest = max(longest, time.perf_counter() - start)
    counted = rounds[1:] if len(rounds) > scale.rounds else rounds
    return {name: Timing(*zip(*(each[name] for each in counted), strict=True)) for name in variants}


def _once(variant: Variant) -> tuple[float, float]:
    """Seconds of a call: (wall, process CPU)."""
    with threads(variant.threads):
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(variant.repeat):
            variant.run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall / variant.repeat, cpu / variant.repeat
