"""``hydrarec info``."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydrarec.cli.options import Json


def info(path: Path, /, *, json: Json = False) -> None:
    """Describe a data set folder or a run folder.

    Parameters
    ----------
    path
        The folder.
    """
    from hydrarec.cli.output import print_facts, print_json
    from hydrarec.data.folder import is_dataset
    from hydrarec.errors import InputError
    from hydrarec.progress import table

    if is_dataset(path):
        facts = _dataset(path)
    elif (path / "config.json").exists():
        facts = _run(path)
    else:
        raise InputError(f"{path} is neither a data set nor a run folder; `hydrarec train SOURCE --out RUN` makes both")
    if json:
        print_json(facts)
        return
    domains = facts.pop("domains", {})
    print_facts({name: _readable(name, value) for name, value in _spread(facts).items()})
    if domains:
        print()
        table("", ["domain", "events", "users", "items"], [[name, *each.values()] for name, each in domains.items()])


def _dataset(path: Path) -> dict[str, Any]:
    from hydrarec.data.describe import describe_domains
    from hydrarec.data.store import Dataset

    dataset = Dataset.open(path)
    domains = describe_domains(dataset)
    return {
        "dataset": str(path),
        "users": dataset.n_users,
        "items": dataset.n_items,
        "events": dataset.n_events,
        "fingerprint": dataset.fingerprint,
        "protocol": dataset.protocol.to_dict(),
        "statistics": dataset.statistics,
        **({"domains": domains} if domains else {}),
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
        "results": {key: value for key, value in run.metrics.items() if key not in ("test", "protocol", "fingerprint")},
        "metrics": run.metrics.get("test", {}).get("metrics", {}),
    }


def _spread(facts: dict[str, Any]) -> dict[str, Any]:
    """The entries of settings, statistics and results as facts of their own."""
    spread: dict[str, Any] = {}
    for name, value in facts.items():
        spread |= value if name in ("settings", "statistics", "results") else {name: value}
    return spread


def _readable(name: str, value: Any) -> Any:
    if name in ("first_time", "last_time"):
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC"
    if name == "dataset" and isinstance(value, dict):
        return {**value, "fingerprint": value["fingerprint"][:16]}
    if name == "peak_memory_bytes":
        return f"{value / 2**20:,.0f} MiB"
    return f"{value:,}" if type(value) is int else value
