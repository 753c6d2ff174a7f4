"""Events added to a data set folder: a day's, or of any other time, without writing the rest again."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from hydrarec.data.days import FOLDER, added_before, join
from hydrarec.data.domains import DOMAIN
from hydrarec.data.prepare import prepare
from hydrarec.data.reading.columns import choose_optional
from hydrarec.data.reading.engine import engine
from hydrarec.data.reading.merge import prefix
from hydrarec.data.reading.several import domain_of
from hydrarec.data.reading.source import open_source
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

    A single file without domains is of the one of its name, where the data set was made of several files.

    Raises:
        InputError: bad events, or the same as a day before, or they do not go with those that are there; nothing is
            changed.
    """
    out = Path(out)
    base = Dataset.open(out)
    for name in ("min_user", "min_item"):
        if columns.get(name, 1) > 1:
            raise InputError(f"--{name.replace('_', '-')} cannot be told from one day; it goes with a new data set")
    if columns.get("domain") is None:
        source = _as_domain(source, base)
    day = prepare(source, protocol=base.protocol, least_items=1, log=log, progress=progress, **columns)
    if (new := sorted({*day.domains} - {*base.domains})) and log is not None:
        log(f"warning: {', '.join(new)} are domains that were not there before: sources are called after their files")
    with alone_in(out / FOLDER, wait=True):
        base = Dataset.open(out)  # another process may have added a day
        # Without times the same may happen again.
        if day.has_times and (known := added_before(base, day)) is not None:
            what = f"those of day {known}" if known else "those that it was made of"
            raise InputError(f"{out} has these events already, {what}; nothing was added")
        join(base, day)
        day.save(out / FOLDER / f"{len(base.lineage) + 1:05d}")
    return Dataset.open(out)


def _as_domain(source: Any, base: Dataset) -> Any:
    """``{name: source}`` where a single path without domains is called as one of the sources that ``base`` is made of.

    Raises:
        InputError: it cannot be read.
    """
    path = source[0] if isinstance(source, list | tuple) and len(source) == 1 else source
    if not isinstance(path, str | Path) or (name := domain_of(path)) not in base.domains:
        return source
    first = base.item_table["item"][pc.index(base.item_table[DOMAIN].cast("string"), name).as_py()].as_py()
    if not str(first).startswith(prefix(name)):  # the domains are those of a column
        return source
    with tempfile.TemporaryDirectory(prefix="hydrarec-") as spill, engine(Path(spill)) as connection:
        found = open_source(connection, path)
        domain = choose_optional("domain", None, found.columns, found.name)
    return source if domain else {name: path}
