"""One event for each of many users through a whole encoder, in one call: what a server does at every click."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from hydrarec.ops.library import required_kernels
from hydrarec.ops.operators import operator

HEADS_MOST = 64  # as in csrc/step.cpp
_NAMES = ("packed", "x", "since", "until", "position", "conv", "ssm", "timed", "hidden")


@dataclass(frozen=True, kw_only=True)
class StepSizes:
    """Sizes of an encoder, in the kernel's order.

    Attributes:
        d_model: d. n_layers: M. n_heads: G. latent: c. inner: E. d_state: N. d_conv: K.
        ffn: hidden width of the feed-forward part, 0 for none.
        output: whether an output projection follows.
        time_heads: of each layer, 0 for none. time_width: of each.
    """

    d_model: int
    n_layers: int
    n_heads: int
    latent: int
    inner: int
    d_state: int
    d_conv: int
    ffn: int
    output: bool
    time_heads: int
    time_width: int


@operator("step_", mutates_args=("position", "conv", "ssm", "timed", "hidden"))
def step_(
    packed: Tensor,
    x: Tensor,
    since: Tensor,
    until: Tensor,
    position: Tensor,
    conv: Tensor,
    ssm: Tensor,
    timed: Tensor,
    hidden: Tensor,
    sizes: list[int],
    scale: float,
) -> None:
    """Run one event of each of U users; the state is updated where it lies. No gradient.

    Args:
        packed: ``pack`` of the encoder's weights.
        x: (U, d) float32 item vectors.
        since: (U,) float32 seconds since each user's event before. until: (U,) until the request. For time heads.
        position: (U,) int64. conv: (U, M, K-1, G, F). ssm: (U, M, G, E, N). timed: (U, M, time heads, width + 1).
        hidden: (U, d). Dense, float32.
        sizes: the values of ``StepSizes``.
        scale: of the interaction.
    """
    run_step((packed, x, since, until, position, conv, ssm, timed, hidden), sizes, scale)


@step_.register_fake
def _(
    packed: Tensor,
    x: Tensor,
    since: Tensor,
    until: Tensor,
    position: Tensor,
    conv: Tensor,
    ssm: Tensor,
    timed: Tensor,
    hidden: Tensor,
    sizes: list[int],
    scale: float,
) -> None:
    """Nothing is returned."""


def run_step(tensors: tuple[Tensor, ...], sizes: list[int], scale: float) -> None:
    """``step_`` without the operator around it, which would take longer than the step of a single user."""
    _check(tensors, sizes)
    required_kernels().call("step_run", [tensors[1].shape[0], *sizes], tensors, scale, torch.get_num_threads())


def _check(tensors: tuple[Tensor, ...], sizes: list[int]) -> None:
    """Raise a ``ValueError`` for what would be read or written out of bounds: states are updated where they lie."""
    if len(sizes) != 11 or min(sizes[:7]) < 1 or min(sizes) < 0:
        raise ValueError(f"sizes {sizes} are not those of an encoder")
    d, layers, G, _, E, N, K, _, _, heads, width = sizes
    if K > 4 or G > HEADS_MOST or (heads and not width):
        raise ValueError(f"the kernel does not take an encoder of sizes {sizes}")
    U = tensors[1].shape[0]
    needed = (
        _packed_size(tuple(sizes)),
        U * d,
        U if heads else 0,
        U if heads else 0,
        U,
        U * layers * (K - 1) * G * (E + 2 * N),
        U * layers * G * E * N,
        U * layers * heads * (width + 1),
        U * d,
    )
    for name, tensor, numbers in zip(_NAMES, tensors, needed, strict=True):
        dtype = torch.int64 if name == "position" else torch.float32
        if tensor.dtype != dtype or not tensor.is_contiguous() or tensor.device.type != "cpu":
            raise ValueError(f"{name} must be dense {dtype} on the CPU")
        if tensor.numel() != numbers:
            raise ValueError(f"{name} holds {tensor.numel()} numbers, {numbers} are needed for {U} users")


@lru_cache(maxsize=64)
def _packed_size(sizes: tuple[int, ...]) -> int:
    needed = torch.zeros(1, dtype=torch.int64)
    required_kernels().call("step_size", [1, *sizes], [needed])
    return int(needed)


def pack(sizes: list[int], weights: list[Tensor | None]) -> Tensor:
    """The weights as the kernel wants them: the norm in front, 18 of each layer, the norm and the matrix at the end.

    Of a layer: norm, w_xz, in_proj, out_proj, conv_weight, conv_bias, skip, gated norm, A, dt_bias, w_o, ffn_norm,
    gate_up, down (None without a feed-forward part), and of its time heads norm, w_vz, w_o and scale in seconds (None
    without any). The last two are left out without an output projection.
    """
    packed = torch.zeros(_packed_size(tuple(sizes)))
    dense = [None if w is None else w.detach().float().contiguous() for w in weights]
    required_kernels().call("step_pack", [1, *sizes], dense, [packed])
    return packed
