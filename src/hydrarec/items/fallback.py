"""Vectors that stand for items which training never saw."""

import zlib
from collections.abc import Iterable
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from hydrarec.items.mix import mix

BEYOND = 1 << 40  # rows from here on are of ids that no table has a row for
_DRAWN = 1 << 30  # hashes are compared with a share of this


def rows_beyond(ids: Iterable[int | str]) -> np.ndarray:
    """(n,) int64, where a fallback reads ids without a row: the same id always at the same place."""
    return np.fromiter((BEYOND + zlib.crc32(str(each).encode("utf-8", "surrogatepass")) for each in ids), np.int64)


class Fallback(nn.Module):
    """Shared vectors, one of which an item is read by where nothing is known of it.

    To learn them, every step reads a share of the known items as if they were unknown. Which ones, and by which vector,
    is drawn anew for each step, so that a vector tells "something new" and no particular item; within a step, as later
    in a history, an item keeps its vector and so is known again.

    Attributes:
        weight: (B, d) float32.
        known: (V,) bool, items that have been trained. Rows from V on are ids without a row.
        share: of the known items that a step reads as unknown.
    """

    known: Tensor

    def __init__(self, buckets: int, width: int, known: Tensor, *, share: float, std: float = 0.02) -> None:
        super().__init__()
        self.weight = nn.Parameter(std * torch.randn(buckets, width))
        self.register_buffer("known", known)
        self.share = share

    def rows_of(self, rows: Tensor) -> Tensor:
        """``rows`` (n,) int64 as a table takes them: any row of it for those that it does not have."""
        return rows.clamp(max=len(self.known) - 1)

    def forward(self, vectors: Tensor, rows: Tensor) -> Tensor:
        """vectors (n, d) of ``rows`` (n,) int64 -> (n, d), those of unknown items replaced."""
        has_row = rows < len(self.known)
        unknown = ~(self.known[self.rows_of(rows)] & has_row)
        salt = 0
        if self.training:
            salt = int(torch.randint(_DRAWN, ()))
            unknown = unknown | (mix(rows + salt) % _DRAWN < self.share * _DRAWN)
        stand_ins = nn.functional.embedding(mix(rows + salt + 1) % len(self.weight), self.weight)
        return torch.where(unknown[:, None], stand_ins.to(vectors.dtype), vectors)

    @torch.no_grad()
    def admit(self, reused: Tensor, grown: int) -> None:
        """Rows that have other items now (n,), and so many new ones at the end: nothing is known of them."""
        self.known[reused] = False
        self.known = torch.cat([self.known, self.known.new_zeros(grown)])

    @classmethod
    def like(cls, weight: Tensor, known: Tensor, share: float) -> Self:
        """One that a saved one's tensors fit, not yet filled."""
        buckets, width = weight.shape
        return cls(buckets, width, torch.zeros_like(known), share=share)
