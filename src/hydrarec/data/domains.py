"""Domains: the shops of one data set. Every item belongs to one, which column ``domain`` of the item table names."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hydrarec.errors import InputError

DOMAIN = "domain"
_MOST = 2**15  # codes are int16


def domains_of(items: pa.Table) -> tuple[list[str], np.ndarray | None]:
    """Names of the domains, ascending, and (I,) int16, the place among them of each item's; ([], None) without domains.

    Args:
        items: an item table of I rows.

    Raises:
        InputError: an item has no domain, or there are more than int16 can count.
    """
    if DOMAIN not in items.column_names:
        return [], None
    column = items[DOMAIN].cast(pa.string())
    if column.null_count:
        lacking = pc.index(column.is_null(), True).as_py()
        raise InputError(f"item {items['item'][lacking].as_py()!r} has no domain; where some items have one, all must")
    names = sorted(pc.unique(column).to_pylist())
    if len(names) > _MOST:
        raise InputError(f"there are {len(names):,} domains; at most {_MOST:,} can be told apart")
    return names, pc.index_in(column, pa.array(names, pa.string())).to_numpy().astype(np.int16)
