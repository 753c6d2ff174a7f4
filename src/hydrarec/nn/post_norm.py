"""What Mamba4Rec and LRURec share: their settings, and a feed-forward part whose norm stands after the residual."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from hydrarec.errors import InputError
from hydrarec.nn.rival import LayersConfig
from hydrarec.ops import dropout, dropout_add


@dataclass(frozen=True, kw_only=True)
class PostNormConfig(LayersConfig):
    """Sizes of an encoder that reads packed histories of any length.

    Attributes:
        ffn: width of the feed-forward part as a multiple of d.
    """

    ffn: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.ffn > 0:
            raise InputError(f"ffn must be positive, not {self.ffn}")


class PostNormFeedForward(nn.Module):
    """LayerNorm(h + Dropout(W_2 Dropout(GELU(W_1 h)))), (T, d) -> (T, d) (arXiv 2403.03900 and 2310.02367)."""

    def __init__(self, config: PostNormConfig, eps: float) -> None:
        super().__init__()
        d, hidden = config.d_model, round(config.ffn * config.d_model)
        self.p = config.dropout
        self.up = nn.Linear(d, hidden)
        self.down = nn.Linear(hidden, d)
        self.norm = nn.LayerNorm(d, eps=eps)

    def forward(self, h: Tensor) -> Tensor:
        inner = dropout(F.gelu(self.up(h)), self.p, self.training)
        out: Tensor = self.norm(dropout_add(h, self.down(inner), self.p, self.training))
        return out
