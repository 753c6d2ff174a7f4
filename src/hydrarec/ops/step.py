"""One event for each of many users through a whole encoder, in one call: what a server does at every click."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hydrarec.ops.library import required_kernels

HEADS_MOST = 64  # as in csrc/step.cpp


@dataclass(frozen=True, kw_only=True)
class StepSizes:
    """Sizes of an encoder, in the kernel's order.

    Attributes:
        d_model: d. n_layers: M. n_heads: G. latent: c. inner: E. d_state: N. n_decays: m. d_conv: K.
        rope: 0 none, 1 turns z, 2 turns x.
        ffn: hidden width of the feed-forward part, 0 for none.
        shared: whether one projection serves both paths.
        output: whether an output projection follows.
        period: of positions.
    """

    d_model: int
    n_layers: int
    n_heads: int
    latent: int
    inner: int
    d_state: int
    n_decays: int
    d_conv: int
    rope: int
    ffn: int
    shared: bool
    output: bool
    period: int


@torch.library.custom_op("hydrarec::step_", mutates_args=("position", "conv", "ssm", "hidden"), device_types="cpu")
def step_(
    packed: Tensor,
    x: Tensor,
    table: Tensor,
    position: Tensor,
    conv: Tensor,
    ssm: Tensor,
    hidden: Tensor,
    sizes: list[int],
    scale: float,
) -> None:
    """Run one event of each of U users; the state is updated where it lies. No gradient.

    Args:
        packed: ``pack`` of the encoder's weights.
        x: (U, d) float32 item vectors.
        table: (period, 2c), see ``hydrarec.nn.rope.rotation_table``.
        position: (U,) int64. conv: (U, M, K-1, G, F). ssm: (U, M, G, E, N). hidden: (U, d). Dense, float32.
        sizes: the values of ``StepSizes``.
        scale: of the interaction.
    """
    run_step((packed, x, table, position, conv, ssm, hidden), sizes, scale)


def run_step(tensors: tuple[Tensor, ...], sizes: list[int], scale: float) -> None:
    """``step_`` without the operator around it, which would take longer than the step of a single user."""
    if not all(t.is_contiguous() for t in tensors):
        raise ValueError("step_ updates states where they lie: every tensor must be dense")
    required_kernels().call("step_run", [tensors[1].shape[0], *sizes], tensors, scale, torch.get_num_threads())


def pack(sizes: list[int], weights: list[Tensor | None]) -> Tensor:
    """The weights as the kernel wants them: the norm in front, 14 of each layer, the norm and the matrix at the end.

    Of a layer: norm, w_xz, in_proj, out_proj, conv_weight, conv_bias, skip, gated norm, A, dt_bias, w_o, ffn_norm,
    gate_up, down (None without a feed-forward part). At the end None without an output projection.
    """
    needed = torch.zeros(1, dtype=torch.int64)
    required_kernels().call("step_size", [1, *sizes], [needed])
    packed = torch.zeros(int(needed))
    dense = [None if w is None else w.detach().float().contiguous() for w in weights]
    required_kernels().call("step_pack", [1, *sizes], dense, [packed])
    return packed
