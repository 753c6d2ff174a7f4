"""The plain item encoder: one learned vector an item."""

import torch
from torch import Tensor, nn

from hydrarec.items.contract import ItemEncoder


class ItemTable(ItemEncoder):
    """Vectors of V items by row.

    Attributes:
        weight: (V, d) float32, drawn from a normal distribution truncated at two deviations.
    """

    def __init__(self, n_items: int, width: int, std: float = 0.02) -> None:
        super().__init__()
        self.std = std
        self.weight = nn.Parameter(draw(n_items, width, std))

    @property
    def n_items(self) -> int:  # type: ignore[override]  # others count it themselves
        return len(self.weight)

    def encode(self, rows: Tensor) -> Tensor:
        return nn.functional.embedding(rows, self.weight)

    def catalog(self) -> Tensor:
        return self.weight

    @torch.no_grad()
    def add(self, n: int) -> None:
        """Append ``n`` new items with fresh vectors. The parameter is a new one: make the optimiser after."""
        fresh = draw(n, self.weight.shape[1], self.std).to(self.weight)
        self.weight = nn.Parameter(torch.cat([self.weight, fresh]), requires_grad=self.weight.requires_grad)

    @torch.no_grad()
    def renew(self, rows: Tensor) -> None:
        """Give ``rows`` (n,) int64 to other items, with fresh vectors."""
        self.weight[rows] = draw(len(rows), self.weight.shape[1], self.std).to(self.weight)


def draw(n: int, width: int, std: float) -> Tensor:
    """(n, width) float32 from a normal distribution truncated at two deviations."""
    return nn.init.trunc_normal_(torch.empty(n, width), std=std, a=-2 * std, b=2 * std)
