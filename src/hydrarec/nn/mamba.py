"""Mamba in every latent subspace: v small state-space models side by side, each with its own parameters.

Symbols: T events, G = v heads, c latent width, E = expand * c, N state size, K taps, m decays of a Mamba-2 head.
All heads run in one batched product; memory is head-major throughout.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hydrarec.nn.config import EncoderConfig
from hydrarec.nn.rope import interact, rotate, rotation_table
from hydrarec.ops import (
    ROPE,
    causal_conv_silu,
    gated_rms_norm,
    mixer,
    mixer_fits,
    plain_mixer,
    plain_mixer_fits,
    selective_scan,
)


@dataclass(frozen=True)
class HeadState:
    """What the heads of one layer remember of U users: conv (U, K-1, G, F) and ssm (U, G, E, N)."""

    conv: Tensor
    ssm: Tensor


def head_weight(G: int, n_in: int, n_out: int) -> nn.Parameter:
    """(G, n_in, n_out): one matrix a head, initialised as ``nn.Linear`` does."""
    bound = 1 / math.sqrt(n_in)
    return nn.Parameter(torch.empty(G, n_in, n_out).uniform_(-bound, bound))


def initial_step_bias(*shape: int, low: float = 1e-3, high: float = 0.1) -> Tensor:
    """Bias whose softplus is spread log-uniformly over [low, high] (Gu & Dao 2023, section 3.6)."""
    dt = torch.exp(torch.rand(*shape) * math.log(high / low) + math.log(low))
    return dt + torch.log(-torch.expm1(-dt))


def per_head(x: Tensor, weight: Tensor) -> Tensor:
    """(T, G, a) times (G, a, b) -> (T, G, b), memory head-major."""
    return torch.bmm(x.transpose(0, 1), weight).transpose(0, 1)


class MambaHeads(nn.Module):
    """What both kinds share: input projection, convolution, scan, gate, output projection.

    ``forward`` maps (T, G, c) to (T, G, c) and carries a ``HeadState``; ``mix`` goes from the projected inputs of both
    paths to their interaction.
    """

    def __init__(self, config: EncoderConfig, scale: float, conv_width: int, in_width: int) -> None:
        super().__init__()
        self.rope, self.period, self.scale = config.rope, config.period, scale
        G, E, K = config.n_heads, config.inner, config.d_conv
        self.inner, self.d_state, self.conv_width = E, config.d_state, conv_width
        self.in_proj = head_weight(G, config.latent, in_width)
        bound = 1 / math.sqrt(K)
        self.conv_weight = nn.Parameter(torch.empty(G, conv_width, K).uniform_(-bound, bound))
        self.conv_bias = nn.Parameter(torch.zeros(G, conv_width))
        self.skip = nn.Parameter(torch.ones(G, E))  # D in the papers
        self.out_proj = head_weight(G, E, config.latent)

    def initial_state(self, n_users: int) -> HeadState:
        G, F_, K = self.conv_weight.shape
        conv = self.conv_weight.new_zeros(n_users, K - 1, G, F_)
        return HeadState(conv, self.conv_weight.new_zeros(n_users, G, self.inner, self.d_state))

    def mix(self, xz: Tensor, positions: Tensor, offsets: Tensor, state: HeadState | None) -> tuple[Tensor, HeadState]:
        """U = Mamba(SiLU(x)) * RoPE(SiLU(z)) * scale.

        Args:
            xz: (T, 2 G c) inputs of the history path, then of the item path; (T, G c) serves both.
            positions: (T,) int64, below the period.

        Returns:
            (T, G c), and the state.
        """
        G, c = self.in_proj.shape[:2]
        paths = xz.unflatten(1, (xz.shape[1] // (G * c), G, c))  # (T, 2 or 1, G, c)
        x, z = F.silu(paths[:, 0]), paths[:, -1]
        y, state = self(rotate(x, positions) if self.rope == "x" else x, offsets, state)
        if self.rope == "z":
            return interact(y, z, positions, self.scale).flatten(1), state
        return (y * F.silu(z) * self.scale).flatten(1), state

    def convolve(self, x: Tensor, offsets: Tensor, state: HeadState | None) -> tuple[Tensor, Tensor]:
        return causal_conv_silu(x, self.conv_weight, self.conv_bias, offsets, state.conv if state else None)

    def scan(
        self, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, offsets: Tensor, state: HeadState | None
    ) -> tuple[Tensor, Tensor]:
        y, ssm = selective_scan(x, dt, A, B, C, offsets, state.ssm if state else None)
        return torch.addcmul(y, x, self.skip), ssm


class Mamba1Heads(MambaHeads):
    """A decay for every channel and state; step, B and C are read from the convolved input (Gu & Dao 2023)."""

    def __init__(self, config: EncoderConfig, scale: float) -> None:
        E, N, G = config.inner, config.d_state, config.n_heads
        super().__init__(config, scale, conv_width=E, in_width=2 * E)
        self.rank = max(1, math.ceil(config.latent / 16))
        self.x_proj = head_weight(G, E, self.rank + 2 * N)
        self.dt_proj = head_weight(G, self.rank, E)
        self.dt_bias = nn.Parameter(initial_step_bias(G, E))
        self.A_log = nn.Parameter(torch.arange(1, N + 1).float().log().repeat(G, E, 1))

    def forward(self, x: Tensor, offsets: Tensor, state: HeadState | None) -> tuple[Tensor, HeadState]:
        N = self.d_state
        values, gate = per_head(x, self.in_proj).split([self.inner, self.inner], dim=2)
        values, conv = self.convolve(values, offsets, state)
        step, B, C = per_head(values, self.x_proj).split([self.rank, N, N], dim=2)
        dt = F.softplus(per_head(step, self.dt_proj) + self.dt_bias)
        y, ssm = self.scan(values, dt, -self.A_log.exp(), B, C, offsets, state)
        return per_head(y * F.silu(gate), self.out_proj), HeadState(conv, ssm)


class Mamba2Heads(MambaHeads):
    """m decays a head; values, B and C are convolved together; the output is normalised (Dao & Gu 2024)."""

    def __init__(self, config: EncoderConfig, scale: float) -> None:
        E, N, G, m = config.inner, config.d_state, config.n_heads, config.n_decays
        super().__init__(config, scale, conv_width=E + 2 * N, in_width=2 * E + 2 * N + m)
        self.n_decays = m
        self.dt_bias = nn.Parameter(initial_step_bias(G, m))
        self.A_log = nn.Parameter(torch.empty(G, m).uniform_(1, 16).log())
        self.norm = nn.Parameter(torch.ones(G, E))

    def forward(self, x: Tensor, offsets: Tensor, state: HeadState | None) -> tuple[Tensor, HeadState]:
        E, N = self.inner, self.d_state
        gate, joint, step = per_head(x, self.in_proj).split([E, E + 2 * N, self.n_decays], dim=2)
        joint, conv = self.convolve(joint, offsets, state)
        values, B, C = joint.split([E, N, N], dim=2)
        dt = F.softplus(step + self.dt_bias)
        y, ssm = self.scan(values, dt, -self.A_log.exp(), B, C, offsets, state)
        return per_head(gated_rms_norm(y, gate, self.norm, 1e-5), self.out_proj), HeadState(conv, ssm)

    def mix(self, xz: Tensor, positions: Tensor, offsets: Tensor, state: HeadState | None) -> tuple[Tensor, HeadState]:
        compiled = mixer_fits(xz, self.conv_weight.shape[2])
        if not compiled and not plain_mixer_fits(xz, offsets):
            return super().mix(xz, positions, offsets, state)
        given = (None, None) if state is None else (state.conv, state.ssm)
        dtype = torch.promote_types(xz.dtype, torch.float32)
        weights = (self.in_proj, self.out_proj, self.conv_weight, self.conv_bias, self.skip, self.norm)
        table = self.norm[:, :0]
        if self.rope != "none":
            table = rotation_table(self.period, self.in_proj.shape[1], dtype)
        where = offsets, positions, table, *given, ROPE[self.rope], self.scale
        inputs = xz.to(dtype), *weights, -self.A_log.exp(), self.dt_bias, *where
        u, conv, ssm = mixer(*inputs, torch.is_grad_enabled())[:3] if compiled else plain_mixer(*inputs)
        return u, HeadState(conv, ssm)
