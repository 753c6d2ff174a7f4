"""Tables smaller than the catalog: an item's vector is made of rows that it shares with others."""

import math

import torch
from torch import Tensor

from hydrarec.items.compact import FloatTable
from hydrarec.items.mix import mix
from hydrarec.items.rows import RowEncoder, RowTable


class QuotientRemainder(RowEncoder):
    """The product of two rows, of the item row's remainder and of its quotient; no two items share both.

    Compositional embeddings from complementary partitions (Shi et al. 2020, arXiv 1909.02107), with products. Quotients
    begin as random signs, so that vectors have the size of the plain table's and point anywhere. The first stays at
    one: products have a free factor, and with as many ``buckets`` as items this is a table of rows. Memory: about
    2 sqrt(V) rows, V / ``buckets`` + ``buckets`` exactly.

    Attributes:
        remainders: (``buckets``, d). quotients: (V / ``buckets`` rounded up, d).

    Args:
        buckets: rows of ``remainders``; None: sqrt(V).
        dtype: of both tables.
    """

    def __init__(
        self,
        n_items: int,
        width: int,
        std: float = 0.02,
        *,
        buckets: int | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.n_items = 0
        self.remainders = FloatTable(buckets or math.isqrt(max(n_items, 1) - 1) + 1, width, std, dtype)
        self.quotients = FloatTable(0, width, std, dtype)
        self.add(n_items)

    @property
    def tables(self) -> tuple[RowTable, ...]:
        return self.remainders, self.quotients

    def encode(self, rows: Tensor) -> Tensor:
        quotients = rows // self.remainders.n_items
        factors = self.quotients.encode(quotients)
        first = (quotients == 0)[..., None].to(factors.device)
        return self.remainders.encode(rows % self.remainders.n_items) * factors.masked_fill(first, 1.0)

    @torch.no_grad()
    def add(self, n: int) -> None:
        self.n_items += n
        before, after = self.quotients.n_items, -(-self.n_items // self.remainders.n_items)
        self.quotients.add(max(after - before, 0))
        fresh = torch.arange(before, after, device=self.quotients.squares.device)
        if len(fresh):
            signs = torch.randint(2, (len(fresh), self.quotients.weight.shape[1]), device=fresh.device)
            self.quotients.write(fresh, signs.float() * 2 - 1)


class MultiHash(RowEncoder):
    """The sum of the rows that several hashes of the item row choose; two items rarely share all of them.

    Hash embeddings (Svenstrup et al. 2017, arXiv 1709.03933) without their weights. Memory: that table, whatever the
    catalog; new items cost nothing.

    Attributes:
        shared: (``buckets``, d).

    Args:
        table: where the rows lie; its own deviation is ``std`` / sqrt(``hashes``) for vectors of deviation ``std``.
        hashes: how many rows an item has.
    """

    def __init__(self, n_items: int, table: RowTable, *, hashes: int = 2) -> None:
        super().__init__()
        self.n_items, self.shared, self.hashes = n_items, table, hashes

    @property
    def tables(self) -> tuple[RowTable, ...]:
        return (self.shared,)

    def encode(self, rows: Tensor) -> Tensor:
        return self.shared.encode(self.buckets(rows)).sum(-2)

    def buckets(self, rows: Tensor) -> Tensor:
        """(...) int64 -> (..., hashes) int64 rows of ``shared``."""
        numbered = rows[..., None] * self.hashes + torch.arange(self.hashes, device=rows.device)
        return mix(numbered) % self.shared.n_items

    def add(self, n: int) -> None:
        self.n_items += n
