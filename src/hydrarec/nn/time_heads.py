"""Heads whose memory fades with the time that passes, each at a scale of its own, from seconds to years."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hydrarec.nn.config import EncoderConfig
from hydrarec.nn.norm import RMSNorm
from hydrarec.nn.time import Gaps
from hydrarec.ops import dropout_add, selective_scan

SCALES = (2.0, 2 * 365 * 86_400.0)  # seconds, of the first and the last head at the start; the others lie between
FORGOTTEN = 50.0  # gaps of so many scales leave nothing
SHORTEST = 1e-6  # seconds that stand for none: the scan takes no step of zero


class TimeHeads(nn.Module):
    """h' = h + Dropout(W_O [m * SiLU(W_Z n), log(1 + s)]), n = RMSNorm(h): what a head remembers at the request.

    m = sum_j w_j v_j / (1 + s) over the events j so far, v = SiLU(W_V n), w_j = exp(-(r - t_j) / tau), s = sum_j w_j,
    r the time of the request and tau the head's learned scale. The mean m says what happened at that scale, s how much.
    The sums are a recurrence: a step is O(1), as Mamba's.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        K, d = config.time_heads, config.d_model
        self.p = config.dropout
        self.width = config.time_width
        low, high = map(math.log, SCALES)
        self.log_scale = nn.Parameter(torch.linspace(low, high, K))
        self.norm = RMSNorm(d)
        self.w_vz = nn.Linear(d, 2 * K * self.width, bias=False)
        self.w_o = nn.Linear(K * (self.width + 1), d, bias=False)

    def initial_state(self, n_users: int) -> Tensor:
        """(U, K, c + 1): of each head the sum of weighted vectors, and of the weights."""
        return self.log_scale.new_zeros(n_users, len(self.log_scale), self.width + 1)

    def forward(self, h: Tensor, gaps: Gaps, offsets: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """h (T, d) -> (T, d), and the state right after the last events, before any time has passed."""
        normed = self.norm(h)
        v, z = F.silu(self.w_vz(normed)).float().unflatten(1, (2, -1, self.width)).unbind(1)  # each (T, K, c)
        scale = self.log_scale.exp()
        # A step that is not longer than what is forgotten anyway keeps sums of steps exact.
        step = torch.minimum(gaps.since.float().unsqueeze(1), FORGOTTEN * scale.detach()).clamp(min=SHORTEST)
        step = step.unsqueeze(2)  # (T, K, 1)
        left = torch.exp(-gaps.until.float().unsqueeze(1) / scale).unsqueeze(2)  # (T, K, 1)
        weighted = torch.cat([v, torch.ones_like(v[..., :1])], 2)
        before = None if state is None else state.unsqueeze(3)
        sums, after = selective_scan(weighted, step, -1 / scale.unsqueeze(1), 1 / step, left, offsets, before)
        total = sums[..., -1:]
        remembered = torch.cat([sums[..., :-1] / (1 + total) * z, total.log1p()], 2)
        update = self.w_o(remembered.flatten(1).to(h.dtype))  # (T, K (c + 1)) -> (T, d)
        return dropout_add(h, update, self.p, self.training), after.squeeze(3)
