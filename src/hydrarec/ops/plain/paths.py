"""The inputs of both paths: SiLU and RoPE."""

import torch
import torch.nn.functional as F
from torch import Tensor

Z, X = 1, 2  # which path RoPE turns, as in ``hydrarec.ops.mixer.ROPE``


def paths(xz: Tensor, G: int, c: int, factors: Tensor | None, rope: int) -> tuple[Tensor, Tensor]:
    """(t, 2 G c), or (t, G c) for both -> x and z (t, G, c); factors (t, 2c) are rows of the table of rotations."""
    active = F.silu(xz).view(len(xz), xz.shape[1] // (G * c), G, c)
    x, z = active[:, 0], active[:, -1]
    if factors is not None:
        x, z = (_turn(x, factors), z) if rope == X else (x, _turn(z, factors))
    return x, z


def paths_backward(dx: Tensor, dz: Tensor, xz: Tensor, factors: Tensor | None, rope: int, out: Tensor) -> None:
    """Writes the gradient of xz."""
    if factors is not None:
        dx, dz = (_turn_back(dx, factors), dz) if rope == X else (dx, _turn_back(dz, factors))
    shared = xz.shape[1] == dx.shape[1] * dx.shape[2]
    d = dx + dz if shared else torch.stack([dx, dz], 1)
    torch.ops.aten.silu_backward.grad_input(d.reshape(xz.shape), xz, grad_input=out)


def _turn(v: Tensor, factors: Tensor) -> Tensor:
    own, partner = factors.unsqueeze(1).chunk(2, dim=2)
    return (v * own).addcmul_(v.roll(v.shape[2] // 2, 2), partner)


def _turn_back(d: Tensor, factors: Tensor) -> Tensor:
    """The channel half the channels away is its partner's partner."""
    own, partner = factors.unsqueeze(1).chunk(2, dim=2)
    return (d * own).add_((d * partner).roll(d.shape[2] // 2, 2))
