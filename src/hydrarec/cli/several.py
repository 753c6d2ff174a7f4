"""Commands that run in several processes."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hydrarec.progress import Progress


def is_one_of() -> int:
    """How many processes run this command, started by `torchrun` or by ``--procs``."""
    count = os.environ.get("WORLD_SIZE", "1")
    return int(count) if count.isdecimal() else 1  # what is no number is refused where processes meet


def started(procs: int) -> bool:
    """Run the same command in ``procs`` processes, unless this is one of them already.

    Returns:
        Whether it has been run.

    Raises:
        InputError: ``procs`` is below 1, or `torchrun` has started another number.
    """
    from hydrarec import cli
    from hydrarec.errors import InputError

    count = os.environ.get("WORLD_SIZE")
    if procs < 1 or (procs > 1 and count not in (None, str(procs))):
        reason = f"torchrun has started {count}" if count else "there must be one at least"
        raise InputError(f"--procs is {procs}, and {reason}; leave it out")
    if procs == 1 or count is not None:
        return False
    from hydrarec.launch import launch

    launch(procs, cli.given)
    return True


def first_reporter(json: bool) -> "Progress":
    """As ``progress.reporter`` in the first process; the others show nothing."""
    from hydrarec.processes import is_first
    from hydrarec.progress import reporter

    return reporter(json or not is_first())
