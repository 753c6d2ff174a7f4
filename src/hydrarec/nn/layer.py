"""One Hydra layer: history path, item path, their interaction, and the feed-forward part."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hydrarec.nn.config import EncoderConfig
from hydrarec.nn.mamba import HeadState, Mamba1Heads, Mamba2Heads
from hydrarec.nn.rope import rotate
from hydrarec.nn.swiglu import SwiGLU


class Residual(nn.Module):
    """h + Dropout(update), or with a gate read from the layer's input, h + sigmoid(W n) * Dropout(update) (LiGR)."""

    def __init__(self, d_model: int, dropout: float, gated: bool) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.gate = nn.Linear(d_model, d_model) if gated else None

    def forward(self, h: Tensor, normed: Tensor, update: Tensor) -> Tensor:
        update = self.dropout(update)
        return h + (update if self.gate is None else torch.sigmoid(self.gate(normed)) * update)


class HydraLayer(nn.Module):
    """Multi-head latent Mamba (Yuan 2025, arXiv 2504.07398).

    X = split(SiLU(n W_X)), Z = RoPE(SiLU(n W_Z)) with n = RMSNorm(h); Y_i = Mamba_i(X_i);
    h' = h + Dropout(concat(Y_i) * Z / sqrt(v) W_O); h'' = h' + Dropout(SwiGLU(RMSNorm(h'))).
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        d, G, c = config.d_model, config.n_heads, config.latent
        self.n_heads, self.rope = G, config.rope
        self.scale = 1 / math.sqrt(G) if config.scale_interaction else 1.0
        self.norm = nn.RMSNorm(d, eps=1e-6)
        self.w_x = nn.Linear(d, G * c, bias=False)
        self.w_z = None if config.share_projections else nn.Linear(d, G * c, bias=False)
        self.heads = Mamba1Heads(config) if config.mamba == 1 else Mamba2Heads(config)
        self.w_o = nn.Linear(G * c, d, bias=False)
        self.residual = Residual(d, config.dropout, config.gated_residual)
        width = round(config.ffn * d)
        self.ffn = SwiGLU(d, width) if width else None
        if self.ffn is not None:
            self.ffn_norm = nn.RMSNorm(d, eps=1e-6)
            self.ffn_residual = Residual(d, config.dropout, config.gated_residual)

    def forward(
        self, h: Tensor, positions: Tensor, offsets: Tensor, state: HeadState | None
    ) -> tuple[Tensor, HeadState]:
        """h (T, d), positions (T,) -> (T, d) and the heads' state."""
        normed = self.norm(h)
        x = F.silu(self.w_x(normed)).unflatten(1, (self.n_heads, -1))  # (T, G, c)
        z = x if self.w_z is None else F.silu(self.w_z(normed)).unflatten(1, (self.n_heads, -1))
        if self.rope == "z":
            z = rotate(z, positions)
        elif self.rope == "x":
            x = rotate(x, positions)
        y, state = self.heads(x, offsets, state)
        mixed = self.w_o((y * z * self.scale).flatten(1))  # (T, G, c) -> (T, d)
        h = self.residual(h, normed, mixed)
        if self.ffn is not None:
            normed = self.ffn_norm(h)
            h = self.ffn_residual(h, normed, self.ffn(normed))
        return h, state
