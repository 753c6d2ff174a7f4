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
    from hydrarec.ops.gpu import has_triton
    from hydrarec.ops.status import kernel_facts

    names = ("torch", "numpy", "safetensors", "duckdb", "pyarrow", "cyclopts", "rich")
    about = machine()
    facts: dict[str, Any] = {
        "hydrarec": __version__,
        "python": sys.version.split()[0],
        "machine": about,
        "libraries": {name: importlib.metadata.version(name) for name in names},
        "kernels": kernel_facts(),
        "scan": {"back ends": list(backends), "in use": next(iter(backends))},
        "gpu": {"name": about.get("gpu"), "triton": has_triton()},
    }
    if json:
        print_json(facts)
    else:
        memory = f"{int(about['memory_bytes']) / 2**30:.1f} GiB"
        print_facts(
            {
                **facts,
                "machine": f"{about['processor']}, {about['cores']} cores, {memory}",
                "threads": about["threads"],
                "kernels": {name: value for name, value in facts["kernels"].items() if value is not None},
            }
        )
