"""What sets a domain apart: a narrow map for each, added to the vectors of its items."""

import torch
from torch import Tensor, nn


class DomainAdapters(nn.Module):
    """``v + B_k gelu(A_k v)`` for a vector v of an item of domain k (bottleneck adapters, Houlsby et al. 2019).

    Attributes:
        down: (K, r, d), A.
        up: (K, d, r), B, zero at the start.
    """

    def __init__(self, n_domains: int, width: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(n_domains, rank, width) * width**-0.5)
        self.up = nn.Parameter(torch.zeros(n_domains, width, rank))

    def forward(self, vectors: Tensor, domains: Tensor) -> Tensor:
        """(n, d) vectors of items of these domains (n,)."""
        added = torch.zeros_like(vectors)
        for domain in domains.unique().tolist():
            rows = (domains == domain).nonzero()[:, 0]
            inner = nn.functional.gelu(vectors[rows] @ self.down[domain].T)  # (m, r)
            added = added.index_copy(0, rows, inner @ self.up[domain].T)
        return vectors + added
