"""A comparison from its file to result files: what is missing is run."""

from collections.abc import Callable
from pathlib import Path

from hydrarec.compare.choices import points, settings_of
from hydrarec.compare.plan import Plan
from hydrarec.compare.pool import Pool
from hydrarec.compare.spec import DataSpec
from hydrarec.data.obtain import obtain
from hydrarec.data.protocol import Protocol
from hydrarec.data.split import split
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError
from hydrarec.machine import cores
from hydrarec.progress import Progress


def run_missing(plan: Plan, *, jobs: int | None, progress: Progress, log: Callable[[str], None]) -> dict[str, str]:
    """Do all runs of the plan that have no result file yet, ``jobs`` (None: as many as cores) at a time.

    Every setting and every data set is checked before anything is trained.

    Returns:
        The error of each run that failed, by name.

    Raises:
        InputError: a setting or a data set is wrong, or a result was made with other settings.
    """
    jobs = cores() if jobs is None else jobs
    if jobs < 1:
        raise InputError(f"--jobs is {jobs}; it must be at least 1")
    for table in plan.tables():
        for model in (each for each in plan.models(table) if each.runs_here):
            for point in points(plan.spec, model):
                settings_of(plan.spec, table, model, point, plan.spec.seeds[0])
    missing = [slot for slot in plan.slots() if plan.finished(slot) is None]
    if not missing:
        return {}
    datasets: dict[str, Path] = {}
    for table in {slot.table.name: slot.table for slot in missing}.values():
        name = table.data.name
        try:
            if name not in datasets:
                datasets[name] = _prepared(table.data, table.protocol, plan.places.runs, log)
            split(Dataset.open(datasets[name]), table.protocol)  # whether the data fits the protocol
        except InputError as error:
            raise InputError(f"data {name}: {error}") from error
    pool = Pool(plan, datasets, jobs=jobs, log=log)
    pool.run(progress)
    return pool.failed


def _prepared(data: DataSpec, protocol: Protocol, runs: Path, log: Callable[[str], None]) -> Path:
    """Read once, here, so that no run has to, and its peak memory is its own."""
    source = data.source if isinstance(data.source, str) else list(data.source)
    items = data.items if data.items is None or isinstance(data.items, str) else list(data.items)
    given = {**data.columns, "items": items}
    dataset = obtain(source, runs / "data" / data.name, protocol=protocol, log=log, **given)
    assert dataset.path is not None
    return dataset.path
