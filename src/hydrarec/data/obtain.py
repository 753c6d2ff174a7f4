"""Whatever a caller names as the source of a training: a data set, or events to make one of."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydrarec.data.folder import is_dataset
from hydrarec.data.prepare import prepare
from hydrarec.data.protocol import Protocol
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError


def obtain(
    source: Any,
    out: Path,
    *,
    protocol: Protocol | None = None,
    log: Callable[[str], None] | None = None,
    **columns: Any,
) -> Dataset:
    """The data set that ``source`` is, or one prepared from it at ``out/dataset``.

    Args:
        protocol: of a data set that is prepared; one that exists already keeps its own.
        **columns: keywords of ``prepare``; None counts as not given.

    Raises:
        InputError: bad events, a run for its data set, columns for a data set that exists, or ``out/dataset`` was made
            from other events or text.
    """
    given = {key: value for key, value in columns.items() if value is not None}
    if isinstance(source, Dataset) or (isinstance(source, str | Path) and is_dataset(source)):
        if given:
            raise InputError(f"the data set is prepared already; {sorted(given)[0]} cannot be chosen any more")
        return source if isinstance(source, Dataset) else Dataset.open(Path(source))
    if isinstance(source, str | Path) and (Path(source) / "config.json").is_file():
        raise InputError(f"{source} is a run folder; name the data set that it was trained on, or its events")
    # In a place of its own first, so that bad events leave nothing in ``out``.
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out if out.is_dir() else out.parent) as temporary:
        fresh = prepare(source, Path(temporary) / "dataset", protocol=protocol or "time", log=log, **given)
        place = out / "dataset"
        if is_dataset(place):
            earlier = Dataset.open(place)
            if earlier.fingerprint != fresh.fingerprint:
                raise InputError(f"{place} was made from other events; choose another --out")
            if "items" in given and not earlier.item_table.equals(fresh.item_table):
                raise InputError(f"{place} was made with other item text; choose another --out")
        else:
            out.mkdir(exist_ok=True)
            Path(temporary, "dataset").rename(place)
    return Dataset.open(place).with_protocol(fresh.protocol)
