"""Mamba-2 in every latent subspace: v small state-space models side by side, each with its own parameters.

Symbols: T events, G = v heads, c latent width, E = expand * c, N state size, K taps, F = E + 2N.
All heads run in one batched product; memory is head-major throughout.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hydrarec.nn.config import EncoderConfig
from hydrarec.ops import (
    causal_conv_silu,
    gated_rms_norm,
    interact,
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
    """Mamba-2: values, B and C are convolved together, one decay a head, the output is normalised (Dao & Gu 2024).

    ``forward`` maps (T, G, c) to (T, G, c) and carries a ``HeadState``; ``mix`` goes from the projected inputs of both
    paths to their interaction.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        G, c, E, N, K = config.n_heads, config.latent, config.inner, config.d_state, config.d_conv
        self.scale = 1 / math.sqrt(G)
        self.inner, self.d_state = E, N
        self.in_proj = head_weight(G, c, 2 * E + 2 * N + 1)
        bound = 1 / math.sqrt(K)
        self.conv_weight = nn.Parameter(torch.empty(G, E + 2 * N, K).uniform_(-bound, bound))
        self.conv_bias = nn.Parameter(torch.zeros(G, E + 2 * N))
        self.skip = nn.Parameter(torch.ones(G, E))  # D in the papers
        self.out_proj = head_weight(G, E, c)
        self.dt_bias = nn.Parameter(initial_step_bias(G, 1))
        self.A_log = nn.Parameter(torch.empty(G, 1).uniform_(1, 16).log())
        self.norm = nn.Parameter(torch.ones(G, E))

    def initial_state(self, n_users: int) -> HeadState:
        G, F_, K = self.conv_weight.shape
        conv = self.conv_weight.new_zeros(n_users, K - 1, G, F_)
        return HeadState(conv, self.conv_weight.new_zeros(n_users, G, self.inner, self.d_state))

    def forward(self, x: Tensor, offsets: Tensor, state: HeadState | None) -> tuple[Tensor, HeadState]:
        E, N = self.inner, self.d_state
        gate, joint, step = per_head(x, self.in_proj).split([E, E + 2 * N, 1], dim=2)
        before, start = (None, None) if state is None else (state.conv, state.ssm)
        joint, conv = causal_conv_silu(joint, self.conv_weight, self.conv_bias, offsets, before)
        values, B, C = joint.split([E, N, N], dim=2)
        dt = F.softplus(step + self.dt_bias)
        y, ssm = selective_scan(values, dt, -self.A_log.exp(), B, C, offsets, start)
        y = gated_rms_norm(torch.addcmul(y, values, self.skip), gate, self.norm, 1e-5)
        return per_head(y, self.out_proj), HeadState(conv, ssm)

    def mix(self, xz: Tensor, offsets: Tensor, state: HeadState | None) -> tuple[Tensor, HeadState]:
        """U = Mamba(SiLU(x)) * (1 + SiLU(z)) / sqrt(G).

        Args:
            xz: (T, 2 G c) inputs of the history path, then of the item path.

        Returns:
            (T, G c), and the state.
        """
        G, c = self.in_proj.shape[:2]
        compiled = mixer_fits(xz, self.conv_weight.shape[2])
        if not compiled and not plain_mixer_fits(xz, offsets):
            x, z = xz.unflatten(1, (2, G, c)).unbind(1)
            y, state = self(F.silu(x), offsets, state)
            return interact(y, z, self.scale).flatten(1), state
        given = (None, None) if state is None else (state.conv, state.ssm)
        dtype = torch.promote_types(xz.dtype, torch.float32)
        weights = (self.in_proj, self.out_proj, self.conv_weight, self.conv_bias, self.skip, self.norm)
        where = offsets, *given, self.scale
        inputs = xz.to(dtype), *weights, -self.A_log.exp(), self.dt_bias, *where
        u, conv, ssm = mixer(*inputs, torch.is_grad_enabled())[:3] if compiled else plain_mixer(*inputs)
        return u, HeadState(conv, ssm)
