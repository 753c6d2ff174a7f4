"""Tables of rows in memory: float32, half precision, and int8."""

import torch
from torch import Tensor

from hydrarec.items.rounding import to_half, to_int8
from hydrarec.items.rows import RowTable
from hydrarec.items.table import draw

_AT_ONCE = 1 << 13  # rows drawn at a time, so that a new table takes little more than it holds


class FloatRows(RowTable):
    """One vector an item, in float32 or half precision, wherever it lies.

    Attributes:
        weight: (V, d) float32, float16 or bfloat16.
    """

    weight: Tensor

    def read(self, rows: Tensor) -> Tensor:
        return self.weight.index_select(0, rows).float()

    @torch.no_grad()
    def write(self, rows: Tensor, vectors: Tensor) -> None:
        rounded = vectors if self.weight.dtype == torch.float32 else to_half(vectors, self.weight.dtype)
        self.weight.index_copy_(0, rows, rounded)


class FloatTable(FloatRows):
    """One vector an item, in float32 or half precision, in memory."""

    def __init__(self, n_items: int, width: int, std: float = 0.02, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.std, self.width = std, width
        self.register_buffer("weight", torch.empty(0, width, dtype=dtype))
        self.register_buffer("squares", torch.empty(0))
        self.add(n_items)

    def add(self, n: int) -> None:
        before = self.n_items
        self.squares, self.weight = _longer(self.squares, n), _longer(self.weight, n)
        _fill(self, before)


class Int8Table(RowTable):
    """One vector an item in int8, d + 8 bytes with the row's scale and optimiser state.

    Updates are rounded stochastically rather than collected in float32 copies of the rows touched: after some epochs
    these would be all rows, and the table four times as large as without any.

    Attributes:
        codes: (V, d) int8. scale: (V,) float32. A vector is their product.
    """

    codes: Tensor
    scale: Tensor

    def __init__(self, n_items: int, width: int, std: float = 0.02) -> None:
        super().__init__()
        self.std, self.width = std, width
        self.register_buffer("codes", torch.empty(0, width, dtype=torch.int8))
        self.register_buffer("scale", torch.empty(0))
        self.register_buffer("squares", torch.empty(0))
        self.add(n_items)

    def read(self, rows: Tensor) -> Tensor:
        return self.codes.index_select(0, rows).float().mul_(self.scale.index_select(0, rows)[:, None])

    @torch.no_grad()
    def write(self, rows: Tensor, vectors: Tensor) -> None:
        codes, scale = to_int8(vectors)
        self.codes.index_copy_(0, rows, codes)
        self.scale.index_copy_(0, rows, scale)

    def add(self, n: int) -> None:
        before = self.n_items
        for name in ("codes", "scale", "squares"):
            setattr(self, name, _longer(getattr(self, name), n))
        _fill(self, before)


def _longer(values: Tensor, n: int) -> Tensor:
    """``values`` (V, ...) with ``n`` rows of zeros after them."""
    longer = values.new_zeros(len(values) + n, *values.shape[1:])
    longer[: len(values)] = values
    return longer


def _fill(table: FloatTable | Int8Table, first: int) -> None:
    """Draw the rows from ``first`` on, as those of the plain table are drawn."""
    for start in range(first, table.n_items, _AT_ONCE):
        rows = torch.arange(start, min(start + _AT_ONCE, table.n_items), device=table.squares.device)
        table.write(rows, draw(len(rows), table.width, table.std).to(rows.device))
