"""Mamba4Rec's sequence encoder (Liu et al. 2024, arXiv 2403.03900), on the packed scan of ``hydrarec.ops``."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hydrarec.nn.mamba1 import Mamba1
from hydrarec.nn.post_norm import PostNormConfig, PostNormFeedForward
from hydrarec.ops import dropout, dropout_add

EPS = 1e-12  # of the authors' layer norms


@dataclass(frozen=True, kw_only=True)
class Mamba4RecSizes(PostNormConfig):
    """Sizes; the defaults are the authors' for MovieLens-1M.

    Attributes:
        expand: inner width of the Mamba block as a multiple of d.
        d_state: state size of a channel.
        d_conv: taps of the causal convolution.
    """

    n_layers: int = 1
    expand: int = 2
    d_state: int = 32
    d_conv: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_sizes("expand", "d_state", "d_conv")


class Mamba4RecLayer(nn.Module):
    """LayerNorm(Dropout(Mamba(h)) + h), then the feed-forward part; a layer that stands alone has no residual."""

    def __init__(self, config: Mamba4RecSizes) -> None:
        super().__init__()
        self.p, self.residual = config.dropout, config.n_layers > 1
        self.mamba = Mamba1(config.d_model, expand=config.expand, d_state=config.d_state, d_conv=config.d_conv)
        self.norm = nn.LayerNorm(config.d_model, eps=EPS)
        self.ffn = PostNormFeedForward(config, EPS)

    def forward(self, h: Tensor, offsets: Tensor) -> Tensor:
        """h (T, d), offsets (B+1,) -> (T, d)."""
        update = self.mamba(h, offsets)
        if self.residual:
            update = dropout_add(h, update, self.p, self.training)
        else:
            update = dropout(update, self.p, self.training)
        out: Tensor = self.ffn(self.norm(update))
        return out


class Mamba4RecEncoder(nn.Module):
    """LayerNorm(Dropout(x)), then layers. No positions: the recurrence knows the order."""

    def __init__(self, config: Mamba4RecSizes) -> None:
        super().__init__()
        self.p = config.dropout
        self.norm = nn.LayerNorm(config.d_model, eps=EPS)
        self.layers = nn.ModuleList(Mamba4RecLayer(config) for _ in range(config.n_layers))
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Linear maps start as the authors' do: N(0, 0.02), biases at zero.

        Not so the bias of the steps, which their code sets to zero with all the others: as Mamba has it, the model
        learns faster.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(std=0.02)
                module.bias.zero_()
            elif isinstance(module, Mamba1):
                for weight in (module.in_proj, module.x_proj, module.dt_proj, module.out_proj):
                    weight.normal_(std=0.02)

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        """x (T, d) item vectors, offsets (B+1,) -> h (T, d); h[t] has seen its user's events up to and including t."""
        h: Tensor = self.norm(dropout(x, self.p, self.training))
        for layer in self.layers:
            h = layer(h, offsets)
        return h
