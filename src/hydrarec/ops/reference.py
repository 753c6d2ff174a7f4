"""The selective scan as one reads it: a loop over histories and events.

Symbols (Gu & Dao 2023, Dao & Gu 2024), for one history and one head:
    h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t^T        h: (E, N)
    y_t = h_t C_t                                     y: (E,)
Mamba-1 has its own decay for every channel and state; Mamba-2 has one decay for each group of E/m channels.
"""

from itertools import pairwise

import torch
from torch import Tensor


def scan_reference(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, offsets: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """See ``hydrarec.ops.scan.selective_scan``; slow, any dtype, differentiable."""
    E, N = x.shape[2], B.shape[2]
    if A.dim() == 2:  # Mamba-2: spread the m decays over channels and states
        repeat = E // A.shape[1]
        A = A.repeat_interleave(repeat, dim=1).unsqueeze(-1).expand(-1, -1, N)  # (G, E, N)
        dt = dt.repeat_interleave(repeat, dim=2)  # (T, G, E)
    outputs, finals = [], []
    bounds = offsets.tolist()
    for user, (first, end) in enumerate(pairwise(bounds)):
        h = state[user]  # (G, E, N)
        for t in range(first, end):
            decay = torch.exp(dt[t].unsqueeze(-1) * A)
            h = decay * h + (dt[t] * x[t]).unsqueeze(-1) * B[t].unsqueeze(1)
            outputs.append((h * C[t].unsqueeze(1)).sum(-1))  # (G, E)
        finals.append(h)
    y = torch.stack(outputs) if outputs else torch.zeros_like(x)
    return y, torch.stack(finals) if finals else state
