"""One Hydra layer: history path, item path, their interaction, and the feed-forward part."""

from torch import Tensor, nn

from hydrarec.nn.config import EncoderConfig
from hydrarec.nn.mamba import HeadState, MambaHeads
from hydrarec.nn.norm import RMSNorm
from hydrarec.nn.swiglu import SwiGLU
from hydrarec.ops import (
    draw_seed,
    dropout_add,
    feed_forward,
    feed_forward_fits,
    linear_residual,
    norm_linear,
    projection_fits,
)


class HydraLayer(nn.Module):
    """Multi-head latent Mamba (Yuan 2025, arXiv 2504.07398).

    X = split(SiLU(n W_X)), Z = SiLU(n W_Z) with n = RMSNorm(h); Y_i = Mamba_i(X_i);
    h' = h + Dropout(concat(Y_i) * (1 + Z) / sqrt(v) W_O); h'' = h' + Dropout(SwiGLU(RMSNorm(h'))).
    Summaries of the paper have RoPE(Z) where 1 + Z stands. Around one it learns faster and is more accurate; and the
    rotary positions, which repeat in an endless stream and which Mamba does without, made it no better.
    W_X and W_Z stand side by side in one matrix, ``w_xz``.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        d, width = config.d_model, config.n_heads * config.latent
        self.p = config.dropout
        self.norm = RMSNorm(d)
        self.w_xz = nn.Linear(d, 2 * width, bias=False)
        self.heads = MambaHeads(config)
        self.w_o = nn.Linear(width, d, bias=False)
        hidden = round(config.ffn * d)
        self.ffn = SwiGLU(d, hidden) if hidden else None
        if self.ffn is not None:
            self.ffn_norm = RMSNorm(d)

    def forward(self, h: Tensor, offsets: Tensor, state: HeadState | None) -> tuple[Tensor, HeadState]:
        """h (T, d) -> (T, d), and the heads' state."""
        if projection_fits(h):
            xz = norm_linear(h, self.norm.weight, self.w_xz.weight, self.norm.eps)
            u, state = self.heads.mix(xz, offsets, state)
            h = linear_residual(h, u, self.w_o.weight, *self._mask())
        else:
            u, state = self.heads.mix(self.w_xz(self.norm(h)), offsets, state)
            h = dropout_add(h, self.w_o(u), self.p, self.training)
        return self._feed_forward(h), state

    def _feed_forward(self, h: Tensor) -> Tensor:
        """h + Dropout(SwiGLU(RMSNorm(h))), in one kernel where that fits."""
        if self.ffn is None:
            return h
        if feed_forward_fits(h):
            weights = (self.ffn_norm.weight, self.ffn.gate_up.weight, self.ffn.down.weight)
            return feed_forward(h, *weights, self.ffn_norm.eps, *self._mask())
        return dropout_add(h, self.ffn(self.ffn_norm(h)), self.p, self.training)

    def _mask(self) -> tuple[float, int]:
        """What a kernel needs for dropout: the share dropped now, and a seed."""
        p = self.p if self.training else 0.0
        return p, draw_seed() if p else 0
