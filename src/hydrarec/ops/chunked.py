"""The scan in plain PyTorch, fast: matrix products inside chunks, a short recurrence between them.

Mamba-2 is chunked state-space duality (Dao & Gu 2024, section 6): inside a chunk of Q events the output is a masked
Q x Q product, as in linear attention; across chunks only the state (E, N) is carried. Mamba-1's decay differs by
channel and state, so that no product of matrices expresses it; ``hydrarec.ops.blocked`` walks over the events.
"""

import torch
from torch import Tensor

from hydrarec.ops.blocked import scan_blocked
from hydrarec.ops.chunks import Chunks, chunks, from_chunks, to_chunks

_SIZES = (8, 16, 32, 64)


def scan_chunked(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, offsets: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """See ``hydrarec.ops.scan.selective_scan``."""
    if A.dim() == 3:
        return scan_blocked(x, dt, A, B, C, offsets, state)
    layout = chunks(offsets, chunk_size(offsets.diff()))
    if layout.total == 0:
        return torch.zeros_like(x), state
    G, E = x.shape[1:]
    m, N, Q = A.shape[1], B.shape[2], layout.size
    n = layout.total
    # One rearrangement for everything that the chunks need.
    joint = to_chunks(torch.cat([x, B, C, dt], dim=2), layout)  # (G, n, Q, E + 2N + m)
    x, B, C, dt = joint.split([E, N, N, m], dim=3)
    dt = dt.transpose(2, 3)  # (G, n, m, Q)
    total = (dt * A[:, None, :, None]).cumsum(3)  # log decay since the chunk began, this event included
    values = x.unflatten(3, (m, E // m)).transpose(2, 3)  # (G, n, m, Q, P)

    # Inside a chunk: y_i = sum_{j <= i} exp(total_i - total_j) dt_j (C_i . B_j) x_j
    later = torch.ones(Q, Q, dtype=torch.bool, device=x.device).triu(1)
    weights = (total.unsqueeze(4) - total.unsqueeze(3)).masked_fill(later, float("-inf")).exp()  # (G, n, m, Q, Q)
    weights = weights * (C @ B.transpose(2, 3)).unsqueeze(2) * dt.unsqueeze(3)
    y = weights @ values  # (G, n, m, Q, P)

    # What a chunk adds to the state, and what the state adds to a chunk.
    remaining = (total[..., -1:] - total).exp() * dt  # (G, n, m, Q)
    added = (values * remaining.unsqueeze(4)).transpose(3, 4) @ B.unsqueeze(2)  # (G, n, m, P, N)
    entering, final = _carry(added, total[..., -1].exp(), state.unflatten(2, (m, E // m)), layout)
    from_state = C.unsqueeze(2) @ entering.transpose(3, 4)  # (G, n, m, Q, P)
    y = y + from_state * total.exp().unsqueeze(4)
    y = y.transpose(2, 3).reshape(G, n, Q, E)
    return from_chunks(y, layout), final.flatten(2, 3)


def chunk_size(lengths: Tensor) -> int:
    """The size of chunks that is fastest for histories of these lengths (B,).

    Long chunks pad short histories and cost products of Q x Q, short ones make many steps between chunks. The
    constants are microseconds, fitted to a two-layer model on a CPU: a place, a place in a chunk, a step.
    """
    if not lengths.numel():
        return _SIZES[0]
    sizes = torch.tensor(_SIZES, device=lengths.device)
    counts = (lengths.unsqueeze(1) + sizes - 1) // sizes  # (B, len(_SIZES))
    cost = counts.sum(0) * sizes * (10 + 40 / sizes + sizes / 8) + 150 * counts.amax(0)
    return _SIZES[int(cost.argmin())]


def _carry(added: Tensor, decay: Tensor, state: Tensor, layout: Chunks) -> tuple[Tensor, Tensor]:
    """Walk over the chunks of all histories at once.

    Args:
        added: (G, n, m, P, N) what each chunk adds.
        decay: (G, n, m) by how much the state shrinks over each chunk.
        state: (U, G, m, P, N) before the first chunk.

    Returns:
        The state entering each chunk (G, n, m, P, N), and the final state (U, G, m, P, N).
    """
    h = state.index_select(0, layout.order).transpose(0, 1)  # (G, U, m, P, N), longest history first
    entering, final = [], []
    decay = decay[..., None, None]
    for level, alive in zip(layout.levels(), layout.counts, strict=True):
        final.append(h[:, alive:])  # histories that ended before this level
        h = h[:, :alive]
        entering.append(h)
        h = torch.addcmul(added[:, level], decay[:, level], h)
    final.append(h)
    last = torch.cat(final[::-1], dim=1).transpose(0, 1)  # the longest ended last
    return torch.cat(entering, dim=1), last.index_select(0, layout.rank())
