"""SASRec (Kang & McAuley 2018, arXiv 1808.09781), run as well as PyTorch runs it: a rival to measure against."""

import torch
from torch import Tensor, nn

from hydrarec.nn.rival import FeedForward, Pointwise, RivalConfig, attend, xavier_


class SASRecLayer(nn.Module):
    """h' = h + Dropout(W_O Attention(LayerNorm(h))), then the feed-forward part; norms stand before, not after."""

    def __init__(self, config: RivalConfig) -> None:
        super().__init__()
        d = config.d_model
        self.n_heads = config.n_heads
        self.norm = nn.LayerNorm(d)
        self.qkv = nn.Linear(d, 3 * d)
        self.w_o = nn.Linear(d, d)
        self.dropout = nn.Dropout(config.dropout)
        self.ffn = FeedForward(config, Pointwise(d, config.dropout))

    def forward(self, h: Tensor) -> Tensor:
        """(B, L, d) -> (B, L, d)."""
        h = h + self.dropout(self.w_o(attend(self.qkv(self.norm(h)), self.n_heads)))
        out: Tensor = self.ffn(h)
        return out


class SASRec(nn.Module):
    """Dropout(x + positions), then causal attention layers, then a norm."""

    def __init__(self, config: RivalConfig) -> None:
        super().__init__()
        self.config = config
        self.positions = nn.Parameter(torch.empty(config.max_len, config.d_model))
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(SASRecLayer(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model)
        xavier_(self)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, L, d), padded on the right -> h (B, L, d); h[:, t] has seen x[:, :t+1].

        Raises:
            InputError: L > max_len.
        """
        self.config.check_length(x.shape[1])
        h = self.dropout(x + self.positions[: x.shape[1]])
        for layer in self.layers:
            h = layer(h)
        out: Tensor = self.norm(h)
        return out
