"""What the encoders that Hydra is measured against share: their settings and their feed-forward part."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from hydrarec.errors import InputError
from hydrarec.nn.swiglu import SwiGLU


@dataclass(frozen=True, kw_only=True)
class LayersConfig:
    """Sizes that every rival has.

    Attributes:
        d_model: width d.
        n_layers: layers.
        dropout: share of activations set to zero in training.
    """

    d_model: int = 64
    n_layers: int = 2
    dropout: float = 0.2

    def __post_init__(self) -> None:
        self._check_sizes("d_model", "n_layers")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must lie in [0, 1), not {self.dropout}")

    def _check_sizes(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class RivalConfig(LayersConfig):
    """Sizes of a rival. It reads rectangles (B, L, d), padded on the right, and is causal, so that no mask is needed.

    Attributes:
        n_heads: attention heads; must divide d.
        max_len: the longest rectangle; SASRec's and HSTU's tables of positions have so many rows.
        ffn: width of a SwiGLU as a multiple of d, as in Hydra; None: the feed-forward part of the rival's own paper.
    """

    n_heads: int = 2
    max_len: int = 200
    ffn: float | None = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_sizes("n_heads", "max_len")
        if self.d_model % self.n_heads:
            raise InputError(f"n_heads={self.n_heads} must divide d_model={self.d_model}")
        if self.ffn is not None and not self.ffn > 0:
            raise InputError(f"ffn must be positive, or None for the rival's own, not {self.ffn}")

    def check_length(self, length: int) -> None:
        """Raises InputError: the rectangle is longer than the table of positions."""
        if length > self.max_len:
            raise InputError(f"histories of {length} events, but max_len={self.max_len}; raise it or cut the histories")


def attend(joint: Tensor, n_heads: int) -> Tensor:
    """Causal softmax attention of heads of width c: queries, keys and values side by side (B, L, 3d) -> (B, L, d)."""
    q, k, v = joint.unflatten(2, (3, n_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, L, 3d) -> 3 x (B, H, L, c)
    # No dropout inside: the fused kernel has none on a CPU, and the other one keeps B x H x L x L weights.
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


def xavier_(module: nn.Module) -> None:
    """Draw every matrix from Glorot's normal distribution, as the public code of SASRec and of eSASRec does."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_normal_(parameter)


class Pointwise(nn.Module):
    """W_2 Dropout(ReLU(W_1 x)), both d to d (Kang & McAuley 2018, section III-C, and their code)."""

    def __init__(self, d_model: int, dropout: float) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, d_model)
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(self.dropout(F.relu(self.up(x))))
        return out


class FeedForward(nn.Module):
    """h + Dropout(part(LayerNorm(h))), (..., d) -> (..., d).

    ``part`` is a SwiGLU, or ``own`` where the paper's is asked for; where the paper has none, this returns h.
    """

    def __init__(self, config: RivalConfig, own: nn.Module | None) -> None:
        super().__init__()
        d = config.d_model
        self.part = own if config.ffn is None else SwiGLU(d, round(config.ffn * d))
        if self.part is not None:
            self.norm = nn.LayerNorm(d)
            self.dropout = nn.Dropout(config.dropout)

    def forward(self, h: Tensor) -> Tensor:
        return h if self.part is None else h + self.dropout(self.part(self.norm(h)))
