"""A table of rows that the processes hold together, each a run of them: no process has it all.

What a batch reads, and its gradient, go from and to those that have the rows (all-to-all). There a shard is a table of
rows like any other.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from hydrarec import processes
from hydrarec.items.compact import FloatTable
from hydrarec.items.rows import RowEncoder, RowTable, summed
from hydrarec.items.table import draw

_AT_ONCE = 1 << 13  # rows drawn at a time: those of a table in one process


def rows_of_shard(n_items: int, rank: int, world: int) -> tuple[int, int]:
    """First row and the one after the last of a shard: all have as many, but for those at the end."""
    size = -(-n_items // world)
    return min(rank * size, n_items), min((rank + 1) * size, n_items)


class ShardedTable(RowEncoder):
    """Vectors of V items in float32, in as many shards as there are processes.

    All processes call ``encode`` together, each with rows of its own, and ``hand_over`` after a backward. The values of
    a new table do not depend on the number of processes.

    Attributes:
        shard: this process's rows, those from ``first`` on.
    """

    sharded = True

    def __init__(self, n_items: int, width: int, std: float = 0.02, *, fresh: bool = True) -> None:
        """Without ``fresh`` the rows hold nothing yet: those of a saved table are to come."""
        super().__init__()
        self.n_items, self.width = n_items, width
        self.first, end = rows_of_shard(n_items, processes.rank(), processes.world())
        self.shard = FloatTable(0, width, std)
        self.shard.weight, self.shard.squares = torch.empty(end - self.first, width), torch.zeros(end - self.first)
        if fresh:
            self._draw(0)
        self._lent: list[tuple[Tensor, Tensor]] = []

    @property
    def tables(self) -> tuple[RowTable, ...]:
        return (self.shard,)

    @property
    def n_learned(self) -> int:
        return self.n_items * self.width

    @property
    def stored_bytes(self) -> int:
        return 4 * self.n_learned

    @torch.no_grad()
    def renew(self, rows: Tensor) -> None:
        """All processes name the same rows (n,)."""
        drawn = draw(len(rows), self.width, self.shard.std).to(self.shard.squares.device)
        own = (rows >= self.first) & (rows < self.first + self.shard.n_items)
        self.shard.write(rows[own] - self.first, drawn[own])
        self.shard.squares[rows[own] - self.first] = 0

    @torch.no_grad()
    def add(self, n: int) -> None:
        """Rows go from process to process, so that all have about as many again."""
        before, self.n_items = self.n_items, self.n_items + n
        held = torch.arange(self.first, self.first + self.shard.n_items)
        counts = self._by_owner(held)
        weight = torch.cat(processes.exchange(list(self.shard.weight.split(counts))))
        squares = torch.cat(processes.exchange(list(self.shard.squares.split(counts))))
        self.first, end = rows_of_shard(self.n_items, processes.rank(), processes.world())
        more = end - self.first - len(weight)
        self.shard.weight = torch.cat([weight, weight.new_empty(more, self.width)])
        self.shard.squares = torch.cat([squares, squares.new_zeros(more)])
        self._draw(before)

    def _draw(self, begin: int) -> None:
        """Fresh values of the rows from ``begin`` on: all processes draw them all, and each keeps its own."""
        for start in range(begin, self.n_items, _AT_ONCE):
            drawn = draw(min(_AT_ONCE, self.n_items - start), self.width, self.shard.std)
            low, high = max(start, self.first), min(start + len(drawn), self.first + self.shard.n_items)
            if low < high:
                self.shard.weight[low - self.first : high - self.first] = drawn[low - start : high - start]

    def encode(self, rows: Tensor) -> Tensor:
        distinct, places = rows.to(self.shard.squares.device).unique(return_inverse=True)
        vectors = self._read(distinct)
        if self.training and torch.is_grad_enabled():
            self._lent.append((distinct, vectors.requires_grad_()))
        return nn.functional.embedding(places, vectors)

    @torch.no_grad()
    def chunks(self, size: int = 65_536) -> Iterator[tuple[int, Tensor]]:
        """(first row, vectors (n, d)) of this process's rows, in order."""
        end = self.shard.n_items
        for start in range(0, end, size):
            part = torch.arange(start, min(start + size, end), device=self.shard.squares.device)
            yield self.first + start, self.shard.read(part)

    @torch.no_grad()
    def hand_over(self) -> None:
        """Give the gradients of what was read to those that have the rows: there the shard has lent them."""
        none = self.shard.squares.new_zeros(0).long(), self.shard.weight.new_zeros(0, self.width)
        lent = [(rows, vectors.grad) for rows, vectors in self._lent if vectors.grad is not None]
        self._lent = []
        rows, gradients = summed(lent or [none])
        counts = self._by_owner(rows)
        theirs = zip(
            processes.exchange(list(rows.split(counts))), processes.exchange(list(gradients.split(counts))), strict=True
        )
        self.shard.lend_again([(each - self.first, its) for each, its in theirs if len(each)])

    @torch.no_grad()
    def _read(self, distinct: Tensor) -> Tensor:
        """Vectors (n, d) of ascending rows (n,), from whoever has them."""
        asked = processes.exchange(list(distinct.split(self._by_owner(distinct))))
        return torch.cat(processes.exchange([self.shard.read(rows - self.first) for rows in asked]))

    def _by_owner(self, ascending: Tensor) -> list[int]:
        """How many of the rows each process has."""
        ends = [rows_of_shard(self.n_items, rank, processes.world())[1] for rank in range(processes.world())]
        upto = torch.searchsorted(ascending, torch.tensor(ends, device=ascending.device))
        return upto.diff(prepend=upto.new_zeros(1)).tolist()
