"""The inputs of both paths: SiLU and RoPE."""

import torch
import torch.nn.functional as F
from torch import Tensor


def paths(xz: Tensor, G: int, c: int, factors: Tensor) -> tuple[Tensor, Tensor]:
    """(t, 2 G c) -> x and 1 + z (t, G, c), z turned by RoPE; factors (t, 2c) are rows of the table of rotations."""
    x, z = F.silu(xz).view(len(xz), 2, G, c).unbind(1)
    return x, _turn(z, factors).add_(1)


def paths_backward(dx: Tensor, dz: Tensor, xz: Tensor, factors: Tensor, out: Tensor) -> None:
    """Writes the gradient of xz."""
    d = torch.stack([dx, _turn_back(dz, factors)], 1)
    torch.ops.aten.silu_backward.grad_input(d.reshape(xz.shape), xz, grad_input=out)


def _turn(v: Tensor, factors: Tensor) -> Tensor:
    own, partner = factors.unsqueeze(1).chunk(2, dim=2)
    return (v * own).addcmul_(v.roll(v.shape[2] // 2, 2), partner)


def _turn_back(d: Tensor, factors: Tensor) -> Tensor:
    """The channel half the channels away is its partner's partner."""
    own, partner = factors.unsqueeze(1).chunk(2, dim=2)
    return (d * own).add_((d * partner).roll(d.shape[2] // 2, 2))
