"""Tables of which training touches the rows of a batch, and nothing else.

What a batch reads is a small leaf of the graph, the distinct rows in float32, whatever the table itself is made of. Its
gradient is as small. ``RowwiseAdagrad`` takes it, and writes the rows back.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from hydrarec.items.contract import ItemEncoder
from hydrarec.items.table import draw

_AT_ONCE = 1 << 13  # rows updated at a time, so that they stay in cache


class RowEncoder(ItemEncoder):
    """Vectors of V items that are made of tables of rows."""

    @property
    @abstractmethod
    def tables(self) -> "tuple[RowTable, ...]":
        """What ``RowwiseAdagrad`` trains."""

    @abstractmethod
    def add(self, n: int) -> None:
        """Append ``n`` new items with fresh vectors."""

    @torch.no_grad()
    def renew(self, rows: Tensor) -> None:
        """Give ``rows`` (n,) int64 to other items, with fresh vectors; where items share rows, nothing is fresh."""

    def catalog(self) -> Tensor:
        """Vectors of every item, (V, d); ``chunks`` where that is too much at a time."""
        return self.encode(torch.arange(self.n_items))

    @torch.no_grad()
    def chunks(self, size: int = 65_536) -> Iterator[tuple[int, Tensor]]:
        """(first row, vectors (n, d)) of the whole catalog in order, without gradient."""
        for first in range(0, self.n_items, size):
            yield first, self.encode(torch.arange(first, min(first + size, self.n_items)))

    @property
    def n_learned(self) -> int:
        return sum(table.n_learned for table in self.tables)

    @property
    def stored_bytes(self) -> int:
        return sum(table.stored_bytes for table in self.tables)


class RowTable(RowEncoder):
    """Vectors of V items in some storage, with one number of optimiser state an item.

    In training mode, and with gradients enabled, every ``encode`` lends the rows that it reads, until
    ``take_gradient`` or ``forget``. One call for all rows of a batch reads each of them once.

    Attributes:
        width: d.
        std: deviation of fresh vectors.
        squares: (V,) float32, the sum over steps of each row's mean squared gradient.
        lent: (rows (n,) int64, their vectors (n, d) float32, leaves that get gradients), a pair an ``encode``.
    """

    width: int
    std: float
    squares: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.lent: list[tuple[Tensor, Tensor]] = []

    @property
    def n_items(self) -> int:  # type: ignore[override]  # others count it themselves
        return len(self.squares)

    @property
    def tables(self) -> "tuple[RowTable, ...]":
        return (self,)

    @property
    def n_learned(self) -> int:
        return self.n_items * self.width

    @torch.no_grad()
    def renew(self, rows: Tensor) -> None:
        self.write(rows, draw(len(rows), self.width, self.std).to(self.squares.device))
        self.squares[rows] = 0

    @property
    def stored_bytes(self) -> int:
        return sum(value.nbytes for name, value in self.named_buffers() if name != "squares")

    @abstractmethod
    def read(self, rows: Tensor) -> Tensor:
        """Vectors of ``rows`` (n,) int64: (n, d) float32, a copy."""

    @abstractmethod
    def write(self, rows: Tensor, vectors: Tensor) -> None:
        """Replace ``rows`` (n,) int64, distinct, by ``vectors`` (n, d) float32, rounded without bias."""

    def encode(self, rows: Tensor) -> Tensor:
        rows = rows.to(self.squares.device)
        if not (self.training and torch.is_grad_enabled()):
            return self.read(rows.reshape(-1)).reshape(*rows.shape, -1)
        distinct, places = rows.unique(return_inverse=True)
        vectors = self.read(distinct).requires_grad_()
        self.lent.append((distinct, vectors))
        return nn.functional.embedding(places, vectors)

    def catalog(self) -> Tensor:
        """Vectors of every item, (V, d); in training these, and later their gradient, are the only things as large."""
        rows = torch.arange(self.n_items, device=self.squares.device)
        if not (self.training and torch.is_grad_enabled()):
            return self.read(rows)
        leaf = torch.empty(1, 1, device=rows.device).expand(len(rows), self.width).requires_grad_()  # holds a gradient
        self.lent.append((rows, leaf))
        vectors: Tensor = _Lend.apply(leaf, self, rows)
        return vectors

    @torch.no_grad()
    def merge(self) -> Tensor | None:
        """Make one of all that was lent: distinct rows with the sum of their gradients.

        Returns:
            (n, d) the leaf whose ``grad`` that is, to be clipped with others; None where nothing got a gradient.
        """
        self.lent = [(rows, vectors) for rows, vectors in self.lent if vectors.grad is not None]
        if len(self.lent) > 1:
            gradients = [(rows, vectors.grad) for rows, vectors in self.lent if vectors.grad is not None]
            self.lend_again([summed(gradients)])
        return self.lent[0][1] if self.lent else None

    def lend_again(self, gradients: list[tuple[Tensor, Tensor]]) -> None:
        """Put pairs of distinct rows (n,) and their gradients (n, d), of other processes too, for all that was lent."""
        self.lent = []
        for rows, gradient in gradients:
            leaf = torch.empty_like(gradient[:1]).expand(len(rows), -1)  # nobody reads its own values again
            leaf.grad = gradient
            self.lent.append((rows, leaf))

    def take_gradient(self) -> tuple[Tensor, Tensor] | None:
        """Distinct rows (n,) and the sum of the gradients of each (n, d); None where there are none."""
        leaf = self.merge()
        if leaf is None or leaf.grad is None:
            return None
        ((rows, _),) = self.lent
        self.forget()
        return rows, leaf.grad

    def forget(self) -> None:
        """Drop what was lent, with its gradients."""
        self.lent.clear()


def summed(gradients: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Of pairs of rows (n,) and their gradients (n, d): the distinct rows of all, ascending, and the sum of each."""
    distinct, places = torch.cat([rows for rows, _ in gradients]).unique(return_inverse=True)
    every = torch.cat([gradient for _, gradient in gradients])
    return distinct, every.new_zeros(len(distinct), every.shape[1]).index_add_(0, places, every)


class _Lend(torch.autograd.Function):
    """What a table reads, its gradient to be collected by ``leaf``."""

    @staticmethod
    def forward(ctx: Any, leaf: Tensor, table: RowTable, rows: Tensor) -> Tensor:
        return table.read(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0], None, None


class RowwiseAdagrad:
    """Adagrad with one learning rate a row: w -= lr * g / (sqrt(sum over steps of mean(g^2)) + eps).

    The form that FBGEMM and TorchRec call exact rowwise Adagrad. Its state lies in the tables, so it is saved with
    them.

    Attributes:
        lr: the learning rate; it may change between steps.
    """

    def __init__(self, *tables: RowTable, lr: float = 0.05, eps: float = 1e-8) -> None:
        self.tables, self.lr, self.eps = tables, lr, eps

    def leaves(self) -> list[Tensor]:
        """What ``step`` is going to take: (n, d) of each table that has gradients, in ``grad``."""
        return [leaf for table in self.tables if (leaf := table.merge()) is not None]

    @torch.no_grad()
    def step(self) -> None:
        """Update the rows that got a gradient since the last step."""
        for table in self.tables:
            if (found := table.take_gradient()) is None:
                continue
            for rows, gradient in zip(*(each.split(_AT_ONCE) for each in found), strict=True):
                squares = table.squares[rows] + gradient.square().mean(1)
                table.squares[rows] = squares
                rate = self.lr / (squares.sqrt() + self.eps)
                table.write(rows, table.read(rows).addcmul_(gradient, rate[:, None], value=-1))

    def zero_grad(self) -> None:
        """Forget the rows that were read since the last step."""
        for table in self.tables:
            table.forget()
