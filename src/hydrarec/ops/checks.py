"""What operators ask of their arguments. The kernels see bare addresses: whatever passes here can be read and written.

Every check raises ``ValueError`` with the argument's name. Nothing is copied or changed.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hydrarec.ops.library import CHUNK

MOST_TAPS = 4


def check_dims(name: str, tensor: Tensor, *allowed: int) -> None:
    """A tensor has one of so many dimensions."""
    if tensor.dim() not in allowed:
        wanted = " or ".join(map(str, allowed))
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {wanted} dimensions")


def check_shapes(expected: "dict[str, tuple[Tensor | None, tuple[int, ...]]]") -> None:
    """Tensors have these shapes; None passes."""
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {shape}")


def check_single(**tensors: Tensor | None) -> None:
    """Tensors are float32 in the CPU's memory; None passes."""
    for name, tensor in tensors.items():
        if tensor is not None and (tensor.dtype != torch.float32 or tensor.device.type != "cpu"):
            raise ValueError(f"{name} must be float32 on the CPU, not {tensor.dtype} on {tensor.device}")


def check_like(name: str, tensor: Tensor, shape: Sequence[int]) -> None:
    """A tensor is float32 on the CPU and of this shape: of a gradient, the shape of what it is the gradient of."""
    check_single(**{name: tensor})
    check_shapes({name: (tensor, tuple(shape))})


def check_matrices(**matrices: Tensor | None) -> None:
    """Tensors are float32 matrices of one shape on the CPU; None passes."""
    check_single(**matrices)
    shape: tuple[int, ...] = ()
    for name, matrix in matrices.items():
        if matrix is not None:
            check_dims(name, matrix, 2)
            shape = shape or tuple(matrix.shape)
            check_shapes({name: (matrix, shape)})


def check_offsets(offsets: Tensor, T: int) -> None:
    """Bounds of histories, (U+1,) int64: they begin at 0, never fall, and end at the T events."""
    if offsets.dtype != torch.int64 or offsets.dim() != 1 or offsets.numel() < 1:
        raise ValueError("offsets must be a vector of int64 with one more entry than there are histories")
    first, last, falls = int(offsets[0]), int(offsets[-1]), bool((offsets[1:] < offsets[:-1]).any())
    if first != 0 or last != T:
        raise ValueError(f"offsets run from {first} to {last}, but there are events from 0 to {T}")
    if falls:
        raise ValueError("offsets fall somewhere: the end of a history stands before its start")


def check_on_cpu(**indices: Tensor) -> None:
    """Vectors of int64 in the CPU's memory, as ``offsets`` and ``positions``."""
    for name, tensor in indices.items():
        if tensor.dtype != torch.int64 or tensor.dim() != 1 or tensor.device.type != "cpu":
            raise ValueError(f"{name} must be a vector of int64 on the CPU, not {tensor.dtype} on {tensor.device}")


def check_decays(m: int, E: int) -> None:
    """The m decays of a head divide its E channels."""
    if m < 1 or E % m:
        raise ValueError(f"the {m} decays of a head must divide its {E} channels")


def check_scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, offsets: Tensor, state: Tensor | None) -> None:
    """Arguments of ``hydrarec.ops.scan.selective_scan``, of any dtype and on any device."""
    check_dims("x", x, 3)
    check_dims("B", B, 3)
    check_dims("A", A, 2, 3)
    T, G, E = x.shape
    N = B.shape[2]
    m = E if A.dim() == 3 else A.shape[1]
    check_shapes(
        {
            "dt": (dt, (T, G, m)),
            "A": (A, (G, E, N) if A.dim() == 3 else (G, m)),
            "B": (B, (T, G, N)),
            "C": (C, (T, G, N)),
            "state": (state, (offsets.numel() - 1, G, E, N)),
        }
    )
    if A.dim() == 2:
        check_decays(m, E)
    check_offsets(offsets, T)


def check_scan_kernel(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, offsets: Tensor, state: Tensor | None
) -> None:
    """Arguments of the compiled scans: the same, float32 on the CPU, with at least one channel and one state."""
    check_single(x=x, dt=dt, A=A, B=B, C=C, state=state)
    check_on_cpu(offsets=offsets)
    check_scan(x, dt, A, B, C, offsets, state)
    if not x.shape[2] or not B.shape[2]:
        raise ValueError(f"x has {x.shape[2]} channels and B {B.shape[2]} states: at least one is needed")


def check_conv(x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, state: Tensor | None) -> None:
    """Arguments of the compiled convolution."""
    check_dims("x", x, 3)
    check_dims("weight", weight, 3)
    check_single(x=x, weight=weight, bias=bias, state=state)
    check_on_cpu(offsets=offsets)
    T, G, F = x.shape
    K = weight.shape[2]
    check_shapes({"weight": (weight, (G, F, K)), "bias": (bias, (G, F))})
    check_shapes({"state": (state, (offsets.numel() - 1, K - 1, G, F))})
    check_taps(K)
    check_offsets(offsets, T)


def check_taps(K: int) -> None:
    """A width of the convolution that the kernels know."""
    if not 1 <= K <= MOST_TAPS:
        raise ValueError(f"weight has {K} taps, expected 1 to {MOST_TAPS}")


def check_bounds(bounds: Tensor, offsets: Tensor, *shape: int) -> None:
    """States at chunk boundaries: one of this shape for each chunk of each history."""
    chunks = int((offsets.diff() + CHUNK - 1).div(CHUNK, rounding_mode="floor").sum())
    check_like("bounds", bounds, (chunks, *shape))
