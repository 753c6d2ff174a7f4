"""Events added to a data set folder: a day's, or of any other time, without writing the rest again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydrarec.data.days import FOLDER, join
from hydrarec.data.prepare import prepare
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError
from hydrarec.progress import Progress
from hydrarec.sharing import alone_in


def append(
    source: Any,
    out: Path | str,
    *,
    log: Callable[[str], None] | None = None,
    progress: Progress | None = None,
    **columns: Any,
) -> Dataset:
    """Add the events of ``source`` to the data set in ``out``, whole or not at all; what it is then.

    Args:
        **columns: keywords of ``prepare``, but for the protocol, which stays. Every event counts: there is no k-core.

    Raises:
        InputError: bad events, or they do not go with those that are there; nothing is changed.
    """
    out = Path(out)
    base = Dataset.open(out)
    for name in ("min_user", "min_item"):
        if columns.get(name, 1) > 1:
            raise InputError(f"--{name.replace('_', '-')} cannot be told from one day; it goes with a new data set")
    day = prepare(source, protocol=base.protocol, least_items=1, log=log, progress=progress, **columns)
    if (new := sorted({*day.domains} - {*base.domains})) and log is not None:
        log(f"warning: {', '.join(new)} are domains that were not there before: sources are called after their files")
    with alone_in(out / FOLDER, wait=True):
        base = Dataset.open(out)  # another process may have added a day
        join(base, day)
        day.save(out / FOLDER / f"{len(base.lineage) + 1:05d}")
    return Dataset.open(out)
