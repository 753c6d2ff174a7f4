"""The plain item encoder: one learned vector an item."""

import torch
from torch import Tensor, nn


class ItemTable(nn.Module):
    """Vectors of V items by row.

    Attributes:
        weight: (V, d) float32, drawn from a normal distribution truncated at two deviations.
    """

    def __init__(self, n_items: int, width: int, std: float = 0.02) -> None:
        super().__init__()
        self.std = std
        self.weight = nn.Parameter(_draw(n_items, width, std))

    def encode(self, rows: Tensor) -> Tensor:
        """Vectors of ``rows``: (n,) int64 -> (n, d), or (...) -> (..., d)."""
        return nn.functional.embedding(rows, self.weight)

    def forward(self, rows: Tensor) -> Tensor:
        return self.encode(rows)

    def catalog(self) -> Tensor:
        """Vectors of every item, (V, d)."""
        return self.weight

    @torch.no_grad()
    def add(self, n: int) -> None:
        """Append ``n`` new items with fresh vectors. The parameter is a new one: make the optimiser after."""
        fresh = _draw(n, self.weight.shape[1], self.std).to(self.weight)
        self.weight = nn.Parameter(torch.cat([self.weight, fresh]), requires_grad=self.weight.requires_grad)


def _draw(n: int, width: int, std: float) -> Tensor:
    return nn.init.trunc_normal_(torch.empty(n, width), std=std, a=-2 * std, b=2 * std)
