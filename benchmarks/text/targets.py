"""What is asked in a data set, so that runs on data that shares some of it can be held against each other.

Of a run on several domains and one on a single of them, the same questions are those to the same person about the same
item: an event that is the last one in a shop is not always the last one in all shops.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hydrarec.data.protocol import Protocol
from hydrarec.data.split import split
from hydrarec.data.store import Dataset
from hydrarec.evaluate.queries import users_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Targets:
    """Q targets in the order in which result files have their figures.

    Attributes:
        users, items: (Q,) ids, as text.
        domains: (Q,) names of the items' domains, empty where the data has none.
        events: (Q,) int64, events of the user in the whole data set, the target and all later ones included.
        fingerprint: of the data set.
    """

    users: pa.Array
    items: pa.Array
    domains: NDArray[np.str_]
    events: NDArray[np.int64]
    fingerprint: str


def targets_of(dataset: Dataset, protocol: Protocol, part: str = "test") -> Targets:
    """The targets of a part of the split, ``test`` or ``valid``."""
    positions = getattr(split(dataset, protocol), part)
    users, items = users_of(dataset, positions), np.asarray(dataset.items)[positions]
    codes = dataset.item_domains
    return Targets(
        users=_ids(dataset.user_table["user"], users),
        items=_ids(dataset.item_table["item"], items),
        domains=np.full(len(items), "") if codes is None else np.array(dataset.domains)[codes[items]],
        events=np.diff(np.asarray(dataset.offsets))[users].astype(np.int64),
        fingerprint=dataset.fingerprint,
    )


def shared(one: Targets, other: Targets) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places (n,) in ``one`` and in ``other`` of the targets that both ask: the same user, the same item.

    A target that is asked more than once counts where it stands first in ``other``.
    """
    found = pc.index_in(_keys(one), _keys(other)).fill_null(-1).to_numpy(zero_copy_only=False)
    here = np.flatnonzero(found >= 0)
    return here, found[here].astype(np.int64)


def _ids(column: pa.ChunkedArray, rows: NDArray[np.int64]) -> pa.Array:
    return column.combine_chunks().cast(pa.string()).take(pa.array(rows))


def _keys(targets: Targets) -> pa.Array:
    # Lengths first, so that no two pairs of ids make the same text.
    lengths = pc.cast(pc.utf8_length(targets.users), pa.string())
    return pc.binary_join_element_wise(lengths, targets.users, targets.items, " ")
