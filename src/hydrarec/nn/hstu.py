"""HSTU (Zhai et al. 2024, arXiv 2402.17152, section 3.2), run as well as eager PyTorch runs it: a rival."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hydrarec.nn.rival import FeedForward, RivalConfig

BLOCK = 64  # queries at a time: half of what a whole square costs lies in the future
TIME_BUCKETS = 48  # powers of two of a gap in seconds


@dataclass(frozen=True)
class QueryBlock:
    """Queries ``first:end`` of every history against the keys ``:end``.

    Attributes:
        distance: (Q, end) int64, events between query and key, 0 where the key lies in the future.
        gap: (B, Q, end) int64, bucket of the time between them.
        hidden: (Q, end) 0, or a number far below zero where the key lies in the future: SiLU makes 0 of it.
    """

    first: int
    end: int
    distance: Tensor
    gap: Tensor
    hidden: Tensor


def query_blocks(times: Tensor, dtype: torch.dtype) -> list[QueryBlock]:
    """times (B, L) int64 seconds -> what all layers need to know of positions and times."""
    L = times.shape[1]
    place = torch.arange(L, device=times.device)
    blocks = []
    for first in range(0, L, BLOCK):
        end = min(first + BLOCK, L)
        distance = place[first:end, None] - place[:end]
        gap = (times[:, first:end, None] - times[:, None, :end]).clamp(min=0)
        bucket = (gap + 1).to(torch.float32).log2().to(torch.int64).clamp(max=TIME_BUCKETS - 1)
        hidden = torch.zeros_like(distance, dtype=dtype).masked_fill(distance < 0, -1e4)
        blocks.append(QueryBlock(first, end, distance.clamp(min=0), bucket, hidden))
    return blocks


class _Look(torch.autograd.Function):
    """table[index]; the gradient is one count by weight, four times as fast as what indexing does by itself."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows = table.numel()
        return table.index_select(0, index.reshape(-1)).view(index.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return torch.bincount(index.reshape(-1), grad.reshape(-1), ctx.rows).to(grad.dtype), None


class HSTULayer(nn.Module):
    """U, V, Q, K = split(SiLU(W_1 n)), n = LayerNorm(h); A = SiLU(Q K^T + bias of distance and time) / max_len, causal;
    h' = h + W_2 Dropout(LayerNorm(A V) * U), then a feed-forward part, which the paper has not."""

    def __init__(self, config: RivalConfig) -> None:
        super().__init__()
        d = config.d_model
        self.d_model, self.n_heads, self.max_len = d, config.n_heads, config.max_len
        self.norm = nn.LayerNorm(d)
        self.uvqk = nn.Linear(d, 4 * d)
        self.distance_bias = nn.Parameter(0.02 * torch.randn(config.max_len))
        self.time_bias = nn.Parameter(0.02 * torch.randn(TIME_BUCKETS))
        self.w_o = nn.Linear(d, d)
        self.dropout = nn.Dropout(config.dropout)
        self.ffn = FeedForward(config, None)

    def forward(self, h: Tensor, blocks: list[QueryBlock]) -> Tensor:
        """(B, L, d) -> (B, L, d)."""
        u, joint = F.silu(self.uvqk(self.norm(h))).split([self.d_model, 3 * self.d_model], dim=2)
        v, q, k = joint.unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, L, 3d) -> 3 x (B, H, L, c)
        mixed = torch.cat([self._attend(q, k, v, block) for block in blocks], dim=2) / self.max_len
        mixed = F.layer_norm(mixed.transpose(1, 2).flatten(2), (self.d_model,))  # (B, H, L, c) -> (B, L, d)
        out: Tensor = self.ffn(h + self.w_o(self.dropout(mixed * u)))
        return out

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, block: QueryBlock) -> Tensor:
        first, end = block.first, block.end
        bias = _Look.apply(self.time_bias, block.gap) + _Look.apply(self.distance_bias, block.distance) + block.hidden
        scores = q[:, :, first:end] @ k[:, :, :end].transpose(2, 3) + bias.unsqueeze(1)  # (B, H, Q, end)
        return F.silu(scores) @ v[:, :, :end]


class HSTU(nn.Module):
    """Dropout(x), then HSTU layers, then a norm."""

    def __init__(self, config: RivalConfig) -> None:
        super().__init__()
        self.config = config
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(HSTULayer(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model)

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        """x (B, L, d), times (B, L) int64 seconds, padded on the right -> h (B, L, d); h[:, t] has seen x[:, :t+1].

        Raises:
            InputError: L > max_len.
        """
        self.config.check_length(x.shape[1])
        h = self.dropout(x)
        blocks = query_blocks(times, x.dtype)
        for layer in self.layers:
            h = layer(h, blocks)
        out: Tensor = self.norm(h)
        return out
