"""The command from its arguments to tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydrarec.compare.assemble import Assembled, assemble
from hydrarec.compare.markdown import write_report
from hydrarec.compare.plan import Part, Places, Plan
from hydrarec.compare.run import run_missing
from hydrarec.compare.spec import read_spec
from hydrarec.config import nearest
from hydrarec.errors import HydrarecError, InputError
from hydrarec.extras import require
from hydrarec.progress import Lines, Progress, reporter

_LINE_SECONDS = 60.0  # comparisons run for hours; each run's end is said anyway


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What there is now, and the error of each run that failed, by name."""

    tables: list[Assembled]
    failed: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        return {"tables": [table.to_dict() for table in self.tables], "failed": self.failed}

    def raise_failures(self) -> None:
        """Raises HydrarecError: some run failed."""
        if self.failed:
            said = "; ".join(f"{name}: {error}" for name, error in self.failed.items())
            raise HydrarecError(f"{len(self.failed)} run{'s' * (len(self.failed) > 1)} failed: {said}")


def slow_reporter(json: bool) -> Progress:
    """As ``progress.reporter``, with a line a minute where there is no terminal."""
    usual = reporter(json)
    return Lines(_LINE_SECONDS) if isinstance(usual, Lines) else usual


def compare_files(
    files: Sequence[Path],
    *,
    labels: Sequence[str] = (),
    tables: Sequence[str] = (),
    results: Path,
    runs: Path,
    run: bool = True,
    jobs: int | None = None,
    report: Path | None = None,
    progress: Progress,
    log: Callable[[str], None],
) -> Comparison:
    """Run what is missing of some comparisons, if ``run``, assemble all of it, and write ``report``.

    Args:
        labels, tables: of these models and tables only; without any, of all.
        results, runs: folders; see ``Places``.
        jobs: runs at a time; None: as many as there are cores.

    Raises:
        InputError: a file, a setting or a data set is wrong.
    """
    if not files:
        raise InputError("name at least one TOML file that describes a comparison")
    if report is not None:
        require("matplotlib", "report", "plots need", instead="leave out --report")  # not after hours of training
    specs = {file: read_spec(file) for file in files}
    _refuse_unknown("model", labels, [model.label for spec in specs.values() for model in spec.model])
    _refuse_unknown("table", tables, [table.name for spec in specs.values() for table in spec.tables()])
    places, part = Places(results=results, runs=runs), Part(labels=tuple(labels), tables=tuple(tables))
    plans = {file: Plan(spec=spec, places=places, part=part) for file, spec in specs.items()}
    failed: dict[str, str] = {}
    if run:
        for plan in plans.values():
            failed |= run_missing(plan, jobs=jobs, progress=progress, log=log)
    if report is not None:  # of everything, whatever was asked for now
        write_report(report, {file: assemble(Plan(spec=spec, places=places)) for file, spec in specs.items()})
    return Comparison(tables=[table for plan in plans.values() for table in assemble(plan)], failed=failed)


def _refuse_unknown(what: str, named: Sequence[str], known: Sequence[str]) -> None:
    for name in named:
        if name not in known:
            raise InputError(f"the comparison has no {what} {name!r}{nearest(name, known)}")
