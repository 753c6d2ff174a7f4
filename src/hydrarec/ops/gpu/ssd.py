"""Mamba-2's scan for a GPU: chunked state-space duality (Dao & Gu 2024, section 6) as batched products.

The large products take bfloat16 operands; decays, their sums and the state carried between chunks stay in float32.
No step waits for another but in the logarithmic carry, so that one history of 65,536 events fills a GPU as well as a
thousand short ones. Runs on any device.
"""

import torch
from torch import Tensor

from hydrarec.ops.gpu.carry import carry
from hydrarec.ops.gpu.layout import cut

_SIZES = (64, 32, 16)


def scan_ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    offsets: Tensor,
    state: Tensor,
    operands: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """See ``hydrarec.ops.scan.selective_scan``; A is (G, m).

    Args:
        operands: what the large products take; x's own dtype is exact. None is bfloat16 on a GPU, exact elsewhere.
    """
    T, G, E = x.shape
    if T == 0:
        return torch.zeros_like(x), state
    operands = operands or (torch.bfloat16 if x.is_cuda else x.dtype)
    m = A.shape[1]
    layout = cut(offsets, _size(T, len(state)))
    n, Q = layout.total, layout.size
    place = layout.places(T)

    def chunked(v: Tensor) -> Tensor:
        """(T, G, F) -> (G, n, Q, F), zeros in the padding. Places are distinct: the gradient is a plain gather."""
        flat = v.new_zeros(G, n * Q, v.shape[2]).index_copy(1, place, v.transpose(0, 1))
        return flat.view(G, n, Q, -1)

    values = (x.unflatten(2, (m, E // m)) * dt.unsqueeze(3)).flatten(2)  # dt_t x_t
    values = chunked(values.to(operands)).unflatten(3, (m, E // m)).transpose(2, 3)  # (G, n, m, Q, P)
    B, C = chunked(B.to(operands)).unsqueeze(2), chunked(C.to(operands)).unsqueeze(2)  # (G, n, 1, Q, N)
    total = (chunked(dt).transpose(2, 3) * A[:, None, :, None]).cumsum(3)  # log decay, (G, n, m, Q)

    # Inside a chunk: y_i = sum_{j <= i} exp(total_i - total_j) (C_i . B_j) dt_j x_j
    later = torch.ones(Q, Q, dtype=torch.bool, device=x.device).triu(1)
    weights = (total.unsqueeze(4) - total.unsqueeze(3)).masked_fill(later, float("-inf")).exp()  # (G, n, m, Q, Q)
    y = (weights * (C @ B.transpose(3, 4))).to(operands) @ values  # (G, n, m, Q, P)

    # What a chunk adds to the state, and what the state adds to a chunk.
    remaining = (total[..., -1:] - total).exp().unsqueeze(4)
    added = (values * remaining).to(operands).transpose(3, 4) @ B  # (G, n, m, P, N)
    entering, final = carry(
        total[..., -1, None, None].exp().transpose(0, 1),
        added.to(x.dtype).transpose(0, 1),
        state.unflatten(2, (m, E // m)),
        layout,
    )
    from_state = C @ entering.to(operands).permute(1, 0, 2, 4, 3)  # (G, n, m, Q, P)
    y = torch.addcmul(y.to(x.dtype), from_state.to(x.dtype), total.exp().unsqueeze(4))
    y = y.transpose(2, 3).reshape(G, n * Q, E).index_select(1, place)
    return y.transpose(0, 1), final.flatten(2, 3)


def _size(T: int, U: int) -> int:
    """Events of a chunk: few more than the mean history has, and no more than the square of it is worth."""
    return next((size for size in _SIZES if size * U <= T), _SIZES[-1])
