"""What a benchmark found, as one object, one table and files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydrarec.bench.curve import CURVE
from hydrarec.bench.plots import draw
from hydrarec.bench.rows import Row
from hydrarec.files import write_json
from hydrarec.progress import table

ENOUGH = 7  # rounds; a row says so where it has fewer
ABOUT = """\
"vs": how many times the rival's events/s Hydra's are; "over": a plain quotient.
A training step is forward, backward and AdamW of an encoder of two layers with
dropout 0.2; looking up items and the softmax over the catalog are the same work
for every model and are left out. All have the same feed-forward part, a SwiGLU
of width 2 d, but those "published", which have that of their paper. Only real
events count. wall, CPU: microseconds an event on the clock and of the process,
medians of seven runs or more, or of as many as a row says. +-: range of the
middle half of the runs. thr: threads. size: parameters."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Values by figure, facts of the machine, and the rows of all figures and of the curve."""

    figures: dict[str, float]
    machine: dict[str, Any]
    rows: list[Row]

    def to_dict(self) -> dict[str, Any]:
        return {"figures": self.figures, "machine": self.machine, "rows": [row.to_dict() for row in self.rows]}


def write_findings(findings: Findings, folder: Path) -> None:
    """``bench.json`` and the plots, each whole or not at all."""
    write_json(folder / "bench.json", findings.to_dict())
    draw(findings.rows, folder)


def print_findings(findings: Findings) -> None:
    """One table, at most 80 columns wide: each figure's value, and below it what was run for it."""
    about = findings.machine
    print(f"{about['processor']}, {about['cores']} cores, torch {about['torch']}, scan: {about['scan']}")
    print(
        f"one core: float32 GEMM {about['gemm_float32_gflops']:.0f} GFLOP/s (best shape "
        f"{about['gemm_float32_best_gflops']:.0f}), bfloat16 {about['gemm_bfloat16_gflops']:.0f}, "
        f"memory {about['memory_gb_per_s']:.0f} GB/s\n"
    )
    table("", ["figure", "events/s", "wall", "CPU", "+-", "thr", "size"], list(_lines(findings)))
    print(f"\n{ABOUT}")


def _lines(findings: Findings) -> Iterator[list[str]]:
    for name in dict.fromkeys(row.figure for row in findings.rows):
        value = findings.figures.get(name)
        yield [name, "" if value is None else f"= {_digits(value)}", *[""] * 5]
        for row in findings.rows:
            if row.figure == name:
                yield [f"  {_label(row)}", *_cells(row)]


def _label(row: Row) -> str:
    length = f", {row.length:,}" if row.figure == CURVE else ""
    return (
        f"{row.name}{length}"
        if row.rounds >= ENOUGH
        else f"{row.name}{length}, {row.rounds} run{'s' * (row.rounds > 1)}"
    )


def _cells(row: Row) -> list[str]:
    return [
        f"{row.gflops:4.0f} GF/s" if row.gflops else f"{row.events_per_s:9,.0f}",
        f"{_digits(row.us_per_event_wall):>6}",
        f"{_digits(row.us_per_event_cpu):>6}",
        f"{row.spread:4.0%}",
        f"{row.threads:3}",
        f"{row.parameters / 1e3:3.0f}k" if row.parameters else "",
    ]


def _digits(value: float) -> str:
    """Three that count, and no more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"
