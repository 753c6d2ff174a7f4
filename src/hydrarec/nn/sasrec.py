"""SASRec (Kang & McAuley 2018, arXiv 1808.09781), run as well as PyTorch runs it: a rival to measure against."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hydrarec.nn.rival import FeedForward, Pointwise, RivalConfig


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
        self.ffn = FeedForward(config, Pointwise(d))

    def forward(self, h: Tensor) -> Tensor:
        """(B, L, d) -> (B, L, d)."""
        joint: Tensor = self.qkv(self.norm(h))
        q, k, v = joint.unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, L, 3d) -> 3 x (B, H, L, c)
        # No dropout inside: the fused kernel has none on a CPU, and the other one keeps B x H x L x L weights.
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + self.dropout(self.w_o(mixed.transpose(1, 2).flatten(2)))
        out: Tensor = self.ffn(h)
        return out


class SASRec(nn.Module):
    """Dropout(x + positions), then causal attention layers, then a norm."""

    def __init__(self, config: RivalConfig) -> None:
        super().__init__()
        self.config = config
        self.positions = nn.Parameter(0.02 * torch.randn(config.max_len, config.d_model))
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(SASRecLayer(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model)

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
