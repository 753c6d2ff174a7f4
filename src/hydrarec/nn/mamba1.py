"""The block of Mamba-1 (Gu & Dao 2023): a decay for every channel and state."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hydrarec.nn.mamba import head_weight, initial_step_bias, per_head
from hydrarec.ops import causal_conv_silu, selective_scan


class Mamba1(nn.Module):
    """Step, B and C are read from the convolved input; the step through a bottleneck of rank ceil(d / 16).

    Symbols: T events, d width, E = expand * d, N = d_state, K = d_conv taps. The packed operations run heads side by
    side, and this is one of them: every parameter begins with a dimension of 1.
    """

    def __init__(self, d_model: int, *, expand: int, d_state: int, d_conv: int) -> None:
        super().__init__()
        E, N, K = expand * d_model, d_state, d_conv
        self.inner, self.d_state, self.rank = E, N, math.ceil(d_model / 16)
        self.in_proj = head_weight(1, d_model, 2 * E)
        bound = 1 / math.sqrt(K)
        self.conv_weight = nn.Parameter(torch.empty(1, E, K).uniform_(-bound, bound))
        self.conv_bias = nn.Parameter(torch.zeros(1, E))
        self.skip = nn.Parameter(torch.ones(1, E))  # D in the paper
        self.out_proj = head_weight(1, E, d_model)
        self.x_proj = head_weight(1, E, self.rank + 2 * N)
        self.dt_proj = head_weight(1, self.rank, E)
        self.dt_bias = nn.Parameter(initial_step_bias(1, E))
        self.A_log = nn.Parameter(torch.arange(1, N + 1).float().log().repeat(1, E, 1))

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        """x (T, d), offsets (B+1,) -> (T, d); every history from the beginning."""
        N = self.d_state
        values, gate = per_head(x.unsqueeze(1), self.in_proj).chunk(2, dim=2)  # (T, 1, E)
        values, _ = causal_conv_silu(values, self.conv_weight, self.conv_bias, offsets, None)
        step, B, C = per_head(values, self.x_proj).split([self.rank, N, N], dim=2)
        dt = F.softplus(per_head(step, self.dt_proj) + self.dt_bias)
        y, _ = selective_scan(values, dt, -self.A_log.exp(), B, C, offsets)
        y = torch.addcmul(y, values, self.skip) * F.silu(gate)
        return per_head(y, self.out_proj).squeeze(1)
