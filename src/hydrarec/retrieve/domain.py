"""The items of one domain."""

from difflib import get_close_matches

import numpy as np
import pyarrow as pa

from hydrarec.data.domains import domains_of
from hydrarec.errors import InputError

_SHOWN = 30


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
        close = get_close_matches(name, names, n=1, cutoff=0.5)
        known = ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")
        hint = f"did you mean {close[0]!r}? The" if close else "the"
        raise InputError(f"there is no domain {name!r}; {hint} domains are {known}")
    inside = codes == names.index(name)
    rows = np.flatnonzero(inside) if among is None else among[inside[among]]
    if not len(rows):
        raise InputError(f"none of the candidates belongs to domain {name!r}")
    return rows
