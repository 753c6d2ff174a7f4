"""One Hydra layer: history path, item path, their interaction, and the feed-forward part."""

import math

import torch
from torch import Tensor, nn

from hydrarec.nn.config import EncoderConfig
from hydrarec.nn.mamba import HeadState, Mamba1Heads, Mamba2Heads
from hydrarec.nn.norm import RMSNorm
from hydrarec.nn.swiglu import SwiGLU
from hydrarec.ops import (
    draw_seed,
    dropout,
    dropout_add,
    feed_forward,
    feed_forward_fits,
    linear_residual,
    norm_linear,
    projection_fits,
)


class Residual(nn.Module):
    """h + Dropout(update), or with a gate read from the layer's input, h + sigmoid(W n) * Dropout(update) (LiGR)."""

    def __init__(self, d_model: int, p: float, gated: bool) -> None:
        super().__init__()
        self.p = p
        self.gate = nn.Linear(d_model, d_model) if gated else None

    def forward(self, h: Tensor, normed: Tensor, update: Tensor) -> Tensor:
        if self.gate is None:
            return dropout_add(h, update, self.p, self.training)
        return h + torch.sigmoid(self.gate(normed)) * dropout(update, self.p, self.training)

    def mask(self) -> tuple[float, int]:
        """What a kernel needs for dropout: the share dropped now, and a seed."""
        p = self.p if self.training else 0.0
        return p, draw_seed() if p else 0


class HydraLayer(nn.Module):
    """Multi-head latent Mamba (Yuan 2025, arXiv 2504.07398).

    X = split(SiLU(n W_X)), Z = RoPE(SiLU(n W_Z)) with n = RMSNorm(h); Y_i = Mamba_i(X_i);
    h' = h + Dropout(concat(Y_i) * Z / sqrt(v) W_O); h'' = h' + Dropout(SwiGLU(RMSNorm(h'))).
    W_X and W_Z stand side by side in one matrix, ``w_xz``.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        d, width = config.d_model, config.n_heads * config.latent
        self.norm = RMSNorm(d)
        self.w_xz = nn.Linear(d, width if config.share_projections else 2 * width, bias=False)
        scale = 1 / math.sqrt(config.n_heads) if config.scale_interaction else 1.0
        self.heads = (Mamba1Heads if config.mamba == 1 else Mamba2Heads)(config, scale)
        self.w_o = nn.Linear(width, d, bias=False)
        self.residual = Residual(d, config.dropout, config.gated_residual)
        hidden = round(config.ffn * d)
        self.ffn = SwiGLU(d, hidden) if hidden else None
        if self.ffn is not None:
            self.ffn_norm = RMSNorm(d)
            self.ffn_residual = Residual(d, config.dropout, config.gated_residual)

    def forward(
        self, h: Tensor, positions: Tensor, offsets: Tensor, state: HeadState | None
    ) -> tuple[Tensor, HeadState]:
        """h (T, d), positions (T,) below the period -> (T, d) and the heads' state."""
        if self.residual.gate is None and projection_fits(h):
            xz = norm_linear(h, self.norm.weight, self.w_xz.weight, self.norm.eps)
            u, state = self.heads.mix(xz, positions, offsets, state)
            h = linear_residual(h, u, self.w_o.weight, *self.residual.mask())
        else:
            normed = self.norm(h)
            u, state = self.heads.mix(self.w_xz(normed), positions, offsets, state)
            h = self.residual(h, normed, self.w_o(u))
        return self._feed_forward(h), state

    def _feed_forward(self, h: Tensor) -> Tensor:
        """h + Dropout(SwiGLU(RMSNorm(h))), in one kernel where that fits."""
        if self.ffn is None:
            return h
        if self.ffn_residual.gate is None and feed_forward_fits(h):
            weights = (self.ffn_norm.weight, self.ffn.gate_up.weight, self.ffn.down.weight)
            return feed_forward(h, *weights, self.ffn_norm.eps, *self.ffn_residual.mask())
        normed = self.ffn_norm(h)
        after: Tensor = self.ffn_residual(h, normed, self.ffn(normed))
        return after
