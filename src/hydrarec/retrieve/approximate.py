"""The likely best of very many items, without scoring every one: an inverted file of product codes, by FAISS."""

from collections.abc import Callable, Iterable
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from hydrarec.extras import require

LEAST = 1_000  # items that can be clustered
_SAMPLE = 64  # vectors a cluster, to find the clusters by
_ROUNDS = 10  # of that
_CODED = 16_384  # vectors to find codes by
_BITS = 4  # of a code, for every number of a vector
_GROWN = 1.44  # room in lists that grow by doubling, for each byte that they hold: 1 / ln 2 on average


def require_faiss() -> ModuleType:
    """Raises:
    InputError: FAISS is not installed.
    """
    return require("faiss", "ann", "an index needs")


class Index:
    """Proposes items with large products; what it proposes is for others to score. It never changes.

    Items lie in clusters, of which a search reads the ``probes`` nearest to the query. There an item is 4 bits for
    every number of its vector, enough to sort out what is not among the best.

    Args:
        chunks: gives (first row, vectors (n, d) float32) of V items in order, ``LEAST`` or more, at each call.
        n_items: V.
        removed: (V,) bool, rows to leave out.
        go_on: called every second or so, and may raise an error to end it.

    Attributes:
        clusters, probes: how many there are, and how many a search reads.
        left_out: (r,) int64, the removed rows.

    Raises:
        InputError: FAISS is not installed.
    """

    def __init__(
        self,
        chunks: Callable[[], Iterable[tuple[int, Tensor]]],
        n_items: int,
        removed: np.ndarray,
        go_on: Callable[[], None] = lambda: None,
    ) -> None:
        self._faiss = require_faiss()
        self._faiss.omp_set_num_threads(1)  # of this thread: others go on answering
        self.clusters = n_clusters(n_items)
        sample = _sampled(chunks(), n_items, self.clusters * _SAMPLE)
        width = sample.shape[1]
        # Clusters by distance, since by product all would go to the longest centres.
        kmeans = self._faiss.Kmeans(width, self.clusters, niter=1, min_points_per_centroid=1, seed=1)
        for _ in range(_ROUNDS):
            go_on()
            kmeans.train(sample, init_centroids=kmeans.centroids)
        self._centres = self._faiss.IndexFlatIP(width)
        self._centres.add(kmeans.centroids)
        product = self._faiss.METRIC_INNER_PRODUCT
        self._index = self._faiss.IndexIVFPQFastScan(self._centres, width, self.clusters, width, _BITS, product)
        self._index.by_residual = True  # a code is of what is left of a vector without its centre
        self._index.train(sample[:: max(1, len(sample) // _CODED)])
        for first, vectors in chunks():
            go_on()
            rows = first + np.flatnonzero(~removed[first : first + len(vectors)])
            self._index.add_with_ids(vectors.numpy()[rows - first], rows)
        self.probes, self.left_out = 1, np.flatnonzero(removed)

    def __len__(self) -> int:
        """How many items are in it."""
        return int(self._index.ntotal)

    def search(self, queries: Tensor, n: int) -> Tensor:
        """(U, n) int64, rows that are likely the best for ``queries`` (U, d) float32, -1 where there are no more."""
        self._faiss.omp_set_num_threads(torch.get_num_threads())
        parameters = self._faiss.SearchParametersIVF(nprobe=self.probes)
        _, rows = self._index.search(queries.numpy(), n, params=parameters)
        return torch.from_numpy(rows)


def n_clusters(n_items: int) -> int:
    """A power of two near 2 sqrt(V)."""
    return int(2 ** max(2, round(np.log2(2 * np.sqrt(n_items)))))


def index_bytes(n_items: int, width: int) -> int:
    """Memory of an ``Index`` of V items of d numbers: codes and 8-byte rows in lists that grow, centres in float32."""
    return round(n_items * (width * _BITS / 8 + 8) * _GROWN) + n_clusters(n_items) * 4 * width


def _sampled(chunks: Iterable[tuple[int, Tensor]], n_items: int, most: int) -> np.ndarray:
    """(n, d) some of the vectors, spread over the catalog."""
    step = max(1, n_items // most)
    return np.concatenate([vectors[-first % step :: step].numpy() for first, vectors in chunks])
