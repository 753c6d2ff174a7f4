"""A measurement in a Python process of its own: nothing is warm, no memory is taken yet, other settings may hold.

``python -m hydrarec.bench.apart MODULE:FUNCTION`` reads a scale from standard input and prints what the function makes
of it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from typing import Any

from hydrarec.bench.scale import Scale
from hydrarec.config import build
from hydrarec.errors import HydrarecError
from hydrarec.machine import keep_freed_memory


def apart(function: str, scale: Scale, environment: Mapping[str, str] | None = None) -> Any:
    """Call ``function`` (``module:name``), which takes a ``Scale`` and returns a dataclass, in a new process.

    Returns:
        The fields of what it returned.

    Raises:
        HydrarecError: the process failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "hydrarec.bench.apart", function],
        input=json.dumps(asdict(scale)),
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise HydrarecError(f"the process that measures {function} failed: {reason}")
    return json.loads(done.stdout.splitlines()[-1])


def _main(function: str) -> None:
    keep_freed_memory()
    module, _, name = function.partition(":")
    scale = build(Scale, json.load(sys.stdin), "scale")
    print(json.dumps(asdict(getattr(import_module(module), name)(scale))))


if __name__ == "__main__":
    _main(sys.argv[1])
