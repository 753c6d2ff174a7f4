"""Quantiles of arrays that are larger than memory, by counting."""

import math
from collections.abc import Iterator

import numpy as np

_BINS = 1 << 22
_CHUNK = 1 << 20


class Quantiles:
    """Exact quantiles of whole numbers (n,), n > 0; nothing as large as the array is made.

    Attributes:
        low, high: the smallest and the largest.
    """

    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        ends = [(int(chunk.min()), int(chunk.max())) for chunk in self._chunks()]
        self.low, self.high = min(low for low, _ in ends), max(high for _, high in ends)
        self._counted: dict[tuple[int, int], np.ndarray] = {}

    def quantile(self, quantile: float, *, among: int) -> float:
        """``np.quantile`` (linearly interpolated) of the ``among`` smallest numbers."""
        place = (among - 1) * quantile
        first = math.floor(place)
        neighbours = [self._sorted(each, self.low, self.high, 0) for each in (first, min(first + 1, among - 1))]
        return float(np.quantile(np.array(neighbours), place - first))

    def below(self, bound: int) -> int:
        """How many are smaller than ``bound``."""
        return sum(int(np.count_nonzero(chunk < bound)) for chunk in self._chunks())

    def _sorted(self, place: int, low: int, high: int, before: int) -> int:
        """The number at ``place`` in ascending order, from ``low`` to ``high``; ``before`` are below ``low``."""
        width = -(-(high - low + 1) // _BINS)
        upto = before + self._counts(low, high, width)
        bin_ = int(np.searchsorted(upto, place, side="right"))
        start = low + bin_ * width
        if width == 1:
            return start
        return self._sorted(place, start, min(start + width - 1, high), int(upto[bin_ - 1]) if bin_ else before)

    def _counts(self, low: int, high: int, width: int) -> np.ndarray:
        """Numbers up to the end of each bin; bins of ``width`` numbers begin at ``low``."""
        if (low, high) not in self._counted:
            counts = np.zeros(-(-(high - low + 1) // width), np.int64)
            for chunk in self._chunks():
                inside = chunk[(chunk >= low) & (chunk <= high)]
                np.add.at(counts, (inside - low) // width, 1)
            self._counted[low, high] = np.cumsum(counts)
        return self._counted[low, high]

    def _chunks(self) -> Iterator[np.ndarray]:
        return (self._values[start : start + _CHUNK] for start in range(0, len(self._values), _CHUNK))
