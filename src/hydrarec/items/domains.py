"""What the items of a domain have in common: one learned vector a domain."""

import torch
from torch import Tensor, nn


class DomainTable(nn.Module):
    """Vectors of the domains of V items, by the items' rows.

    The domain of each item is saved with the vectors: a model that is loaded knows it.

    Attributes:
        item_domains: (V,) int16, the domain of each item.
        weight: (D, d) float32, zero at the start.

    Args:
        item_domains: (V,) whole numbers from 0; D is one more than the largest.
    """

    item_domains: Tensor

    def __init__(self, item_domains: Tensor, width: int) -> None:
        super().__init__()
        self.register_buffer("item_domains", item_domains.to(torch.int16))
        self.weight = nn.Parameter(torch.zeros(int(item_domains.max()) + 1, width))

    def assign(self, item_domains: Tensor) -> None:
        """Let the items have these domains (V,), which are there; V may be another."""
        self.item_domains = item_domains.to(self.item_domains)

    def add(self, item_domains: Tensor) -> None:
        """Append items (n,) of domains that are there."""
        self.item_domains = torch.cat([self.item_domains, item_domains.to(self.item_domains)])

    def encode(self, rows: Tensor) -> Tensor:
        """Vectors of the domains of items ``rows``: (n,) int64 -> (n, d), or (...) -> (..., d)."""
        return nn.functional.embedding(self.item_domains[rows].long(), self.weight)
