"""The files of a data set folder, read with doubt: a missing or damaged one is named, with the remedy."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hydrarec.errors import InputError
from hydrarec.files import read_json

FORMAT = "hydrarec-dataset"
VERSION = 1
REMEDY = "run `hydrarec prepare` again"


def is_dataset(path: Path | str) -> bool:
    """Whether ``path`` is a data set folder (of any version, whole or not)."""
    return (Path(path) / "dataset.json").is_file()


def read_head(path: Path) -> dict[str, Any]:
    """The content of ``dataset.json``.

    Raises:
        InputError: there is none, or it is of something else, or of a newer version.
    """
    if not path.is_dir():
        raise InputError(f"{path} is not a folder; make a data set with `hydrarec prepare SOURCE --out {path}`")
    head = read_json(path / "dataset.json", remedy=f"is this a data set folder? If it was, {REMEDY}")
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise InputError(f"{path} is not a data set folder; make one with `hydrarec prepare SOURCE --out DATASET`")
    version = head.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise InputError(
            f"{path} was made by a newer hydrarec (format {version}, this one reads {VERSION}); "
            f"upgrade hydrarec, or {REMEDY} with this one"
        )
    return head


def load_array(path: Path, dtype: type[np.generic] | None, shape: tuple[int, ...]) -> np.ndarray:
    """An array, mapped into memory. ``dtype`` None: any.

    Raises:
        InputError: it is missing, truncated, or of another shape or type.
    """
    try:
        array: np.ndarray = np.load(path, mmap_mode="r" if shape[0] else None, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path} is missing; {REMEDY}") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is truncated or damaged ({error}); {REMEDY}") from error
    if array.shape != shape or (dtype is not None and array.dtype != dtype):
        raise InputError(f"{path} is damaged: it holds {array.dtype} {array.shape}, expected {shape}; {REMEDY}")
    return array


def read_parquet(path: Path) -> pa.Table:
    """The table in a file; ``pq.read_table`` would load pandas, and take ``day=1`` in a path for a column."""
    with pq.ParquetFile(path) as file:
        return file.read()


def read_ids(path: Path, id_name: str, n_rows: int) -> pa.Table:
    """The table of items or users; its first columns are their ids and ``events``.

    Raises:
        InputError: it is missing, truncated, or has other columns or another number of rows.
    """
    try:
        table = read_parquet(path)
    except FileNotFoundError:
        raise InputError(f"{path} is missing; {REMEDY}") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} is truncated or damaged ({error}); {REMEDY}") from error
    if table.num_rows != n_rows or table.column_names[:2] != [id_name, "events"]:
        raise InputError(f"{path} is damaged: it does not fit dataset.json; {REMEDY}")
    return table
