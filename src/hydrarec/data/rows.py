"""A data set as a model sees it whose items have other rows."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from hydrarec.data.store import Dataset


def in_rows(dataset: Dataset, rows: np.ndarray, item_table: pa.Table) -> Dataset:
    """The events of items that have a row, in memory.

    Args:
        rows: (I,) int64, the row of each item in ``item_table``; -1: it has none, and its events are left out.
    """
    items = rows[dataset.items]
    known = items >= 0
    return replace(
        dataset,
        items=items[known].astype(np.int32),
        times=dataset.times[known],
        offsets=np.concatenate([[0], np.cumsum(known)])[dataset.offsets].astype(np.int64),
        columns={name: values[known] for name, values in dataset.columns.items()},
        item_table=item_table,
    )
