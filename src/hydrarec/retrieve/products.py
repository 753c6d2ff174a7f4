"""Inner products of a few queries with many vectors, again and again."""

from functools import cached_property

import torch
from torch import Tensor

_FEW = 2  # fewer queries read each vector once, in any layout


class Products:
    """Inner products (n, V) float32 of queries (n, d) with ``vectors`` (V, d) float32.

    A BLAS goes through the vectors as they lie, which with 4 to 16 queries costs it half of its speed and more. oneDNN
    keeps a second copy in an order of its own, made when it is needed first. Where this torch has no such layout, the
    BLAS serves.
    """

    def __init__(self, vectors: Tensor) -> None:
        self._vectors = vectors

    def __call__(self, queries: Tensor) -> Tensor:
        if len(queries) < _FEW or self._packed is None:
            return queries @ self._vectors.T
        return _linear(queries, self._packed)

    @cached_property
    def _packed(self) -> Tensor | None:
        return _pack(self._vectors)


def _pack(vectors: Tensor) -> Tensor | None:
    if vectors.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return None
    try:  # no public function does it without copying all scores once more
        packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(vectors, None)
        _linear(vectors[:_FEW], packed)
    except (AttributeError, RuntimeError):
        return None
    return packed


def _linear(queries: Tensor, packed: Tensor) -> Tensor:
    products: Tensor = torch.ops.mkldnn._linear_pointwise(queries, packed, None, "none", [], "")
    return products
