"""HSTU (Zhai et al. 2024, arXiv 2402.17152, section 3.2, and its public code), run as well as eager PyTorch runs it:
a rival."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hydrarec.nn.rival import FeedForward, RivalConfig

BLOCK = 64  # queries at a time: half of what a whole square costs lies in the future
TIME_BUCKETS = 129  # of a gap in seconds, each about 1.35 times as wide as the one before
EPS = 1e-6  # of the norms, which have no weights; small attention stays small under it


@dataclass(frozen=True)
class QueryBlock:
    """Queries ``first:end`` of every history against the keys ``:end``.

    Attributes:
        distance: (Q, end) int32, events between query and key, 0 where the key lies in the future.
        gap: (B, Q, end) int32, bucket of the time between them; None: times are not looked at.
        hidden: (Q, end) 0, or a number far below zero where the key lies in the future: SiLU makes 0 of it.
    """

    first: int
    end: int
    distance: Tensor
    gap: Tensor | None
    hidden: Tensor


def query_blocks(length: int, like: Tensor, times: Tensor | None, asked: Tensor | None) -> list[QueryBlock]:
    """What all layers need to know of L events' positions and times.

    Args:
        like: of the type and on the device of the hidden states.
        times: (B, L) int64 seconds, when the events happened; None leaves times out.
        asked: (B, L) int64 seconds, when their hidden states are asked.
    """
    place = torch.arange(length, dtype=torch.int32, device=like.device)
    blocks = []
    for first in range(0, length, BLOCK):
        end = min(first + BLOCK, length)
        distance = place[first:end, None] - place[:end]
        gap = None
        if times is not None and asked is not None:
            gap = bucket(asked[:, first:end, None] - times[:, None, :end])
        hidden = torch.zeros_like(distance, dtype=like.dtype).masked_fill(distance < 0, -1e4)
        blocks.append(QueryBlock(first, end, distance.clamp(min=0), gap, hidden))
    return blocks


def bucket(gap: Tensor) -> Tensor:
    """int64 seconds -> int32 below TIME_BUCKETS: the whole part of ln(max(|gap|, 1)) / 0.301."""
    return gap.abs().clamp(min=1).float().log().div(0.301).int().clamp(max=TIME_BUCKETS - 1)


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
    """U, V, Q, K = split(SiLU(W_1 LayerNorm(h))); A = SiLU(Q K^T + bias of distance and time) / max_len, causal;
    h' = h + W_2 Dropout(LayerNorm(A V) * U), then a feed-forward part, which the paper has not.

    Heads are d / n_heads wide and share the bias, as in all published sizes.
    """

    def __init__(self, config: RivalConfig, *, time: bool) -> None:
        super().__init__()
        d = config.d_model
        self.d_model, self.n_heads, self.max_len = d, config.n_heads, config.max_len
        self.uvqk = nn.Linear(d, 4 * d, bias=False)
        self.distance_bias = nn.Parameter(0.02 * torch.randn(config.max_len))
        self.time_bias = nn.Parameter(0.02 * torch.randn(TIME_BUCKETS)) if time else None
        self.w_o = nn.Linear(d, d)
        self.dropout = nn.Dropout(config.dropout)
        self.ffn = FeedForward(config, None)
        nn.init.normal_(self.uvqk.weight, std=0.02)
        nn.init.xavier_uniform_(self.w_o.weight)

    def forward(self, h: Tensor, blocks: list[QueryBlock]) -> Tensor:
        """(B, L, d) -> (B, L, d)."""
        normed = F.layer_norm(h, (self.d_model,), eps=EPS)
        u, joint = F.silu(self.uvqk(normed)).split([self.d_model, 3 * self.d_model], dim=2)
        # (B, L, 3d) -> 3 x (B, H, L, c), copied once, so that no block of queries copies its keys.
        v, q, k = joint.unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4).contiguous()
        mixed = torch.cat([self._attend(q, k, v, block) for block in blocks], dim=2) / self.max_len
        mixed = F.layer_norm(mixed.transpose(1, 2).flatten(2), (self.d_model,), eps=EPS)  # (B, H, L, c) -> (B, L, d)
        out: Tensor = self.ffn(h + self.w_o(self.dropout(mixed * u)))
        return out

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, block: QueryBlock) -> Tensor:
        first, end = block.first, block.end
        bias = _Look.apply(self.distance_bias, block.distance) + block.hidden  # (Q, end)
        if self.time_bias is not None:
            bias = (bias + _Look.apply(self.time_bias, block.gap)).unsqueeze(1)  # (B, 1, Q, end)
        scores = q[:, :, first:end] @ k[:, :, :end].transpose(2, 3) + bias  # (B, H, Q, end)
        return F.silu(scores) @ v[:, :, :end]


class HSTU(nn.Module):
    """Dropout(x + positions), then HSTU layers; no norm at the end, where the scorer normalises."""

    def __init__(self, config: RivalConfig, *, time: bool = True) -> None:
        super().__init__()
        self.config = config
        d = config.d_model
        self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(config.max_len, d), std=d**-0.5))
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(HSTULayer(config, time=time) for _ in range(config.n_layers))

    def forward(self, x: Tensor, times: Tensor | None = None, asked: Tensor | None = None) -> Tensor:
        """x (B, L, d), padded on the right -> h (B, L, d); h[:, t] has seen x[:, :t+1].

        Args:
            times: (B, L) int64 seconds, when the events happened; None only without time.
            asked: (B, L) int64 seconds, when each hidden state is asked; None: when its event happens.

        Raises:
            InputError: L > max_len.
        """
        self.config.check_length(x.shape[1])
        h: Tensor = self.dropout(x + self.positions[: x.shape[1]])
        blocks = query_blocks(x.shape[1], x, times, times if asked is None else asked)
        for layer in self.layers:
            h = layer(h, blocks)
        return h
