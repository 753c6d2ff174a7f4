"""FuXi-Linear's sequence encoder (Ye et al. 2026, arXiv 2602.23671), its three channels in linear time.

Where the paper's text and the authors' code differ (norms, the second residual), this follows the code, which gave the
published numbers.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hydrarec.data.batch import Batch
from hydrarec.errors import InputError
from hydrarec.nn.recurrence import Turns, by_turns, packed, recurrence, turns
from hydrarec.nn.rival import RivalConfig
from hydrarec.nn.swiglu import SwiGLU
from hydrarec.ops import dropout, selective_scan, silu_mul

EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class FuXiLinearSizes(RivalConfig):
    """Sizes; the defaults are the authors' for MovieLens-20M, but width 64, in two heads as wide as theirs, and two
    layers. ``ffn`` is a number here.

    Attributes:
        time: the temporal channel, which sees when an answer is asked for; without it the model knows order alone.
        periods: of the temporal channel; each drives two heads, so that twice as many must divide d.
        period_base: a period is so many times the one before.
        shortest_period: in seconds.
        d_position: width of the positional channel's vectors, even.
    """

    ffn: float | None = 1.0
    time: bool = True
    periods: int = 8
    period_base: int = 16
    shortest_period: int = 1
    d_position: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_sizes("periods", "period_base", "shortest_period")
        if self.ffn is None:
            raise InputError("ffn must be a number: FuXi-Linear's own feed-forward part is a SwiGLU")
        if self.time and self.d_model % (2 * self.periods):
            raise InputError(f"2 * periods={2 * self.periods} must divide d_model={self.d_model}")
        if self.d_position < 2 or self.d_position % 2:
            raise InputError(f"d_position must be even and at least 2, not {self.d_position}")


@dataclass(frozen=True)
class Clock:
    """What all layers need to know of time, by turns; complex numbers that shrink and turn as time goes by.

    Attributes:
        order: of the events.
        since_event_before: (T, d) what a state becomes from one event to the next.
        until_request: (T, d) what it becomes from the event to the moment of the answer, turned so that the real part
            is what a head reads.
    """

    order: Turns
    since_event_before: Tensor
    until_request: Tensor


class Periods(nn.Module):
    """Rates of the temporal channel: period p forgets the share 1 - gamma_p of the past in p / 2 pi seconds.

    The attention of a cosine head to an event that lies ``s`` seconds back is cos(w s) gamma^(w s), w = 2 pi / p, and
    that of a sine head sin(w s) gamma^(w s): the real parts of z^s and -i z^s with the complex rate
    z = gamma^w e^(i w), so that a recurrence over events carries all that lies behind. The layers share them, as in
    the authors' code.
    """

    def __init__(self, config: FuXiLinearSizes) -> None:
        super().__init__()
        self.width = config.d_model // (2 * config.periods)
        self.gamma_logit = nn.Parameter(0.02 * torch.randn(config.periods))
        self.seconds = [config.shortest_period * config.period_base**k for k in range(config.periods)]

    def _after(self, seconds: Tensor, sine: float) -> Tensor:
        """(T,) int64 seconds -> (T, d) complex, sine heads first, their angles moved by ``sine`` of a full turn."""
        dtype = self.gamma_logit.dtype
        # The remainder is taken in whole numbers: years in a period of seconds would have lost their phase in float.
        phase = torch.stack([(seconds % period).to(dtype) / period for period in self.seconds], 1)
        turned = torch.stack([seconds.to(dtype) / period for period in self.seconds], 1)
        shrunk = (2 * math.pi * turned * F.logsigmoid(self.gamma_logit)).exp()
        both = torch.polar(shrunk.repeat(1, 2), 2 * math.pi * torch.cat([phase + sine, phase], 1))
        return both.repeat_interleave(self.width, 1)

    def forward(self, batch: Batch) -> Clock:
        order = turns(batch.offsets)
        gaps = batch.times.diff(prepend=batch.times[:1])  # those of first events are never used
        waits = batch.request_times - batch.times
        gaps, waits = (by_turns(seconds.clamp(min=0), order) for seconds in (gaps, waits))
        return Clock(order, self._after(gaps, 0.0), self._after(waits, -0.25))


class TemporalChannel(nn.Module):
    """Values mixed by when they happened alone, plus the event's own value: y = alpha mixed + beta v.

    As in the paper's figure and the authors' settings for KuaiRand, where gamma is learned too; those for MovieLens-20M
    have alpha = 1, beta = 0 and gamma = 1/2.
    """

    def __init__(self, config: FuXiLinearSizes) -> None:
        super().__init__()
        d, heads = config.d_model, 2 * config.periods
        self.proj = nn.Linear(d, d, bias=False)
        self.width = d // heads
        self.alpha = nn.Parameter(0.02 * torch.randn(heads))
        self.beta = nn.Parameter(torch.ones(heads))

    def forward(self, n: Tensor, clock: Clock) -> Tensor:
        """n (T, d) packed -> (T, d) packed."""
        v = by_turns(self.proj(n), clock.order)
        v = v.to(torch.promote_types(v.dtype, torch.float32))  # complex numbers have no half the size
        state = recurrence(torch.complex(v, torch.zeros_like(v)), clock.since_event_before, clock.order)
        mixed = (state * clock.until_request).real
        alpha, beta = (weight.repeat_interleave(self.width) for weight in (self.alpha, self.beta))
        return packed(mixed * alpha + v * beta, clock.order)


class PositionalChannel(nn.Module):
    """y_i = alpha sum_{j <= i} (p_i . p_j) v_j + beta v_i with learned vectors p of positions."""

    def __init__(self, config: FuXiLinearSizes) -> None:
        super().__init__()
        d, half = config.d_model, config.d_position // 2
        self.proj = nn.Linear(d, d, bias=False)
        angles = torch.arange(config.max_len).unsqueeze(1) * 10_000.0 ** (-torch.arange(half) / half)
        self.positions = nn.Parameter(torch.cat([angles.sin(), angles.cos()], 1))
        self.alpha = nn.Parameter(0.02 * torch.randn(1))
        self.beta = nn.Parameter(torch.ones(1))

    def forward(self, n: Tensor, numbers: Tensor, offsets: Tensor) -> Tensor:
        """n (T, d), numbers (T,) of the events in their histories -> (T, d)."""
        v = self.proj(n)
        p = F.embedding(numbers, self.positions).unsqueeze(1)  # (T, 1, P)
        never = v.new_zeros(1, 1)  # nothing decays
        mixed = selective_scan(v.unsqueeze(1), _ones(v, 1), never, p / (p.shape[2] // 2), p, offsets)[0]
        out: Tensor = mixed.squeeze(1) * self.alpha + v * self.beta
        return out


class FuXiLinearLayer(nn.Module):
    """u, q, k, v = SiLU(n W), n = norm(h); the channels side by side, each normalised, times u; then two stages:
    m = h + W_0 Dropout(.), h' = m + SwiGLU(Dropout(RMSNorm(m))) (as in FuXi-alpha, Ye et al. 2025)."""

    def __init__(self, config: FuXiLinearSizes) -> None:
        super().__init__()
        d = config.d_model
        self.p, self.n_heads, self.d_model = config.dropout, config.n_heads, d
        channels = 3 if config.time else 2
        self.uqkv = nn.Linear(d, (channels + 3) * d, bias=False)
        self.decay_logit = nn.Parameter(0.02 * torch.randn(config.n_heads))
        self.temporal = TemporalChannel(config) if config.time else None
        self.positional = PositionalChannel(config)
        self.w_o = nn.Linear(channels * d, d, bias=False)
        self.ffn = SwiGLU(d, round((config.ffn or 0) * d))
        for linear in (self.uqkv, self.w_o, self.ffn.gate_up, self.ffn.down):
            nn.init.normal_(linear.weight, std=0.02)

    def forward(self, h: Tensor, numbers: Tensor, offsets: Tensor, clock: Clock | None) -> Tensor:
        """h (T, d), numbers (T,) of the events in their histories -> (T, d)."""
        width = (self.d_model,)
        n = F.layer_norm(h, width, eps=EPS)
        u, qkv = self.uqkv(n).split([self.w_o.in_features, 3 * self.d_model], dim=1)
        channels = [self._retention(F.silu(qkv), offsets)]
        if self.temporal is not None and clock is not None:
            channels.append(self.temporal(n, clock))
        channels.append(self.positional(n, numbers, offsets))
        gated = silu_mul(torch.cat([u, *(F.layer_norm(channel, width, eps=EPS) for channel in channels)], 1))
        m = h + self.w_o(dropout(gated, self.p, self.training))
        out: Tensor = m + self.ffn(dropout(F.rms_norm(m, width, eps=EPS), self.p, self.training))
        return out

    def _retention(self, qkv: Tensor, offsets: Tensor) -> Tensor:
        """sum_{j <= i} (q_i . k_j) exp(-g (i - j + 1)) v_j, in every head a g of its own; (T, 3d) -> (T, d)."""
        q, k, v = qkv.unflatten(1, (3, self.n_heads, -1)).unbind(1)  # (T, H, c)
        g = (-F.softplus(self.decay_logit).cumsum(0)).exp().unsqueeze(1)
        y = selective_scan(v, _ones(v, self.n_heads), -g, k, q * (-g).exp(), offsets)[0]
        return y.flatten(1)


def _ones(x: Tensor, heads: int) -> Tensor:
    """(T, heads, 1): every step of a scan is one event long."""
    return x.new_ones(x.shape[0], heads, 1)


class FuXiLinearEncoder(nn.Module):
    """Dropout(sqrt(d) x + positions), then layers."""

    def __init__(self, config: FuXiLinearSizes) -> None:
        super().__init__()
        self.config = config
        d = config.d_model
        std = d**-0.5
        drawn = nn.init.trunc_normal_(torch.empty(config.max_len, d), std=std, a=-2 * std, b=2 * std)
        self.positions = nn.Parameter(drawn)
        self.periods = Periods(config) if config.time else None
        self.layers = nn.ModuleList(FuXiLinearLayer(config) for _ in range(config.n_layers))

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x (T, d) item vectors of the batch's events -> h (T, d); h[t] has seen its user's events up to and including
        t, and with ``time`` the moment of the answer.

        Raises:
            InputError: a history is longer than max_len.
        """
        lengths = batch.lengths
        self.config.check_length(int(lengths.max()) if lengths.numel() else 0)
        numbers = torch.arange(x.shape[0], device=x.device) - batch.offsets[:-1].repeat_interleave(lengths)
        clock = None if self.periods is None else self.periods(batch)
        placed = x * math.sqrt(self.config.d_model) + F.embedding(numbers, self.positions)
        h = dropout(placed, self.config.dropout, self.training)
        for layer in self.layers:
            h = layer(h, numbers, batch.offsets, clock)
        return h
