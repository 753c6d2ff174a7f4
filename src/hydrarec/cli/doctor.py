"""``hydrarec doctor``."""

from typing import Any

from hydrarec.cli.options import Json


def doctor(*, json: Json = False) -> None:
    """Say what this machine offers and which parts of hydrarec are in use."""
    import importlib.metadata
    import sys

    from hydrarec._version import __version__
    from hydrarec.cli.output import print_json
    from hydrarec.machine import machine
    from hydrarec.ops import backends
    from hydrarec.progress import table

    libraries = {}
    for name in ("torch", "numpy", "safetensors", "duckdb", "pyarrow", "cyclopts", "rich"):
        libraries[name] = importlib.metadata.version(name)
    facts: dict[str, Any] = {
        "hydrarec": __version__,
        "python": sys.version.split()[0],
        "machine": machine(),
        "libraries": libraries,
        "scan": {"back ends": list(backends), "in use": next(iter(backends))},
    }
    if json:
        print_json(facts)
        return
    rows = [["hydrarec", __version__]]
    for part in ("machine", "libraries", "scan"):
        rows += [[f"{part}: {name}", str(value)] for name, value in facts[part].items()]
    table("hydrarec doctor", ["", ""], rows)
