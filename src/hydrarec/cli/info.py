"""``hydrarec info``."""

from pathlib import Path
from typing import Any

from hydrarec.cli.options import Json


def info(path: Path, *, json: Json = False) -> None:
    """Describe a data set folder or a run folder.

    Parameters
    ----------
    path
        The folder.
    """
    from hydrarec.cli.output import print_json
    from hydrarec.errors import InputError
    from hydrarec.progress import table

    if (path / "dataset.json").exists():
        facts = _dataset(path)
    elif (path / "config.json").exists():
        facts = _run(path)
    else:
        raise InputError(f"{path} is neither a data set nor a run folder")
    if json:
        print_json(facts)
    else:
        table(str(path), ["", ""], [[key, str(value)] for key, value in _flat(facts)])


def _dataset(path: Path) -> dict[str, Any]:
    from hydrarec.data.store import Dataset

    dataset = Dataset.open(path)
    return {
        "dataset": str(path),
        "users": dataset.n_users,
        "items": dataset.n_items,
        "events": dataset.n_events,
        "fingerprint": dataset.fingerprint,
        "protocol": dataset.protocol.to_dict(),
        "statistics": dataset.statistics,
    }


def _run(path: Path) -> dict[str, Any]:
    from hydrarec.train.run import open_run

    run = open_run(path)
    return {
        "run": str(path),
        "finished": run.finished,
        "dataset": run.dataset,
        "settings": run.settings.to_dict(),
        "protocol": run.protocol.to_dict(),
        "results": {key: value for key, value in run.metrics.items() if key != "test"},
        "metrics": run.metrics.get("test", {}).get("metrics", {}),
    }


def _flat(facts: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in facts.items():
        rows += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return rows
