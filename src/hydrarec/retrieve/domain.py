"""The items of one domain."""

import numpy as np
import pyarrow as pa

from hydrarec.config import nearest
from hydrarec.data.domains import domains_of
from hydrarec.errors import InputError


def of_domain(items: pa.Table, name: str, among: np.ndarray | None = None) -> np.ndarray:
    """(n,) int64, the item rows of the domain called ``name``.

    Args:
        items: the item table, which names the domain of each item.
        among: (m,) item rows to choose from; None: all.

    Raises:
        InputError: there is no such domain, or none of ``among`` belongs to it.
    """
    names, codes = domains_of(items)
    if codes is None:
        raise InputError("the data has no domains; prepare it with --domain COLUMN, or from several sources")
    if name not in names:
        raise InputError(f"there is no domain {name!r}{nearest(name, names)}")
    inside = codes == names.index(name)
    rows = np.flatnonzero(inside) if among is None else among[inside[among]]
    if not len(rows):
        raise InputError(f"none of the candidates belongs to domain {name!r}")
    return rows
