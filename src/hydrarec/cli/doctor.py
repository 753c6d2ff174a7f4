"""``hydrarec doctor``."""

from typing import Any

from hydrarec.cli.options import Json


def doctor(*, json: Json = False) -> None:
    """Say what this machine offers and what of it is used."""
    import importlib.metadata
    import sys

    from hydrarec._version import __version__
    from hydrarec.cli.output import print_facts, print_json
    from hydrarec.machine import machine
    from hydrarec.ops import backends

    names = ("torch", "numpy", "safetensors", "duckdb", "pyarrow", "cyclopts", "rich")
    facts: dict[str, Any] = {
        "hydrarec": __version__,
        "python": sys.version.split()[0],
        "machine": machine(),
        "libraries": {name: importlib.metadata.version(name) for name in names},
        "scan": {"back ends": list(backends), "in use": next(iter(backends))},
    }
    if json:
        print_json(facts)
    else:
        about = facts["machine"]
        print_facts(
            {
                **facts,
                "machine": f"{about['processor']}, {about['cores']} cores, {about['memory_bytes'] / 2**30:.1f} GiB",
                "threads": about["threads"],
                "gpu": about.get("gpu"),
            }
        )
