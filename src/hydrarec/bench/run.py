"""A whole benchmark: some figures or all, and what machine they are from."""

from collections.abc import Sequence
from typing import Any

from hydrarec.bench.ceilings import ceilings
from hydrarec.bench.curve import CURVE, cost_by_length
from hydrarec.bench.figures import chosen, measure
from hydrarec.bench.report import Findings
from hydrarec.bench.rows import Row
from hydrarec.bench.scale import Scale
from hydrarec.machine import keep_freed_memory, machine
from hydrarec.ops import backends
from hydrarec.progress import Progress, Silent

FULL = Scale()


def run_bench(names: Sequence[str] = (), scale: Scale | None = None, progress: Progress | None = None) -> Findings:
    """Measure the figures of these names; without names, all figures and the cost by length.

    Raises:
        InputError: an unknown name.
    """
    keep_freed_memory()  # as training does, for every model
    scale, progress = scale or FULL, progress or Silent()
    figures: dict[str, float] = {}
    rows: list[Row] = []
    wanted = chosen(names)
    facts: dict[str, Any] = {**machine(), "scan": next(iter(backends)), **ceilings(scale)}
    with progress.task("bench", total=len(wanted) + (not names), unit="figures") as task:
        for name in wanted:
            figures[name], found = measure(name, scale)
            rows += found
            task.advance(1, f"{name} {figures[name]:.4g}")
        if not names:
            rows += cost_by_length(scale)
            task.advance(1, CURVE)
    return Findings(figures=figures, machine=facts, rows=rows)
