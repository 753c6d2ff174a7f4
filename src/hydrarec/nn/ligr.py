"""LiGR, the transformer layer of eSASRec: gated residuals and SwiGLU (Borisyuk et al. 2025, arXiv 2502.03417)."""

import torch
from torch import Tensor, nn

from hydrarec.nn.rival import RivalConfig, attend, xavier_
from hydrarec.nn.swiglu import SwiGLU
from hydrarec.ops import silu_mul

WIDTH = 4.0  # of the feed-forward part, as a multiple of d


class GatedResidual(nn.Module):
    """h + sigmoid(W h + b) * Dropout(update), all (..., d)."""

    def __init__(self, d_model: int, dropout: float) -> None:
        super().__init__()
        self.gate = nn.Linear(d_model, d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, update: Tensor) -> Tensor:
        return torch.addcmul(h, torch.sigmoid(self.gate(h)), self.dropout(update))


class LiGRLayer(nn.Module):
    """Causal softmax attention and then SwiGLU, each of LayerNorm(h) and each with a gated residual.

    The gate reads h itself and the inside of SwiGLU has dropout, as in the code that eSASRec was published with.
    """

    def __init__(self, config: RivalConfig) -> None:
        super().__init__()
        d = config.d_model
        self.n_heads = config.n_heads
        self.norm, self.ffn_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv = nn.Linear(d, 3 * d)
        self.w_o = nn.Linear(d, d)
        self.ffn = SwiGLU(d, round((WIDTH if config.ffn is None else config.ffn) * d))
        self.dropout = nn.Dropout(config.dropout)
        self.residual = GatedResidual(d, config.dropout)
        self.ffn_residual = GatedResidual(d, config.dropout)

    def forward(self, h: Tensor) -> Tensor:
        """(B, L, d) -> (B, L, d)."""
        h = self.residual(h, self.w_o(attend(self.qkv(self.norm(h)), self.n_heads)))
        inner = self.dropout(silu_mul(self.ffn.gate_up(self.ffn_norm(h).flatten(0, 1))))  # (B L, 4 d)
        out: Tensor = self.ffn_residual(h, self.ffn.down(inner).view_as(h))
        return out


class LiGR(nn.Module):
    """Dropout(x + positions), then LiGR layers; no norm at the end, as published."""

    def __init__(self, config: RivalConfig) -> None:
        super().__init__()
        self.config = config
        self.positions = nn.Parameter(torch.empty(config.max_len, config.d_model))
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(LiGRLayer(config) for _ in range(config.n_layers))
        xavier_(self)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, L, d), padded on the right -> h (B, L, d); h[:, t] has seen x[:, :t+1].

        Raises:
            InputError: L > max_len.
        """
        self.config.check_length(x.shape[1])
        h: Tensor = self.dropout(x + self.positions[: x.shape[1]])
        for layer in self.layers:
            h = layer(h)
        return h
