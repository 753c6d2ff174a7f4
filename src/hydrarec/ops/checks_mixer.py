"""What the mixer asks of its arguments; see ``hydrarec.ops.checks``."""

from collections.abc import Sequence

from torch import Tensor

from hydrarec.ops.checks import (
    check_dims,
    check_offsets,
    check_on_cpu,
    check_shapes,
    check_single,
    check_taps,
)

WEIGHTS = ("in_proj", "out_proj", "conv_weight", "conv_bias", "skip", "norm", "A", "dt_bias")


def check_mixer(
    xz: Tensor,
    weights: Sequence[Tensor],
    offsets: Tensor,
    conv_state: Tensor | None,
    state: Tensor | None,
) -> None:
    """Arguments of ``hydrarec::mixer``; ``weights`` are the eight that stand behind xz, in its order."""
    if len(weights) != len(WEIGHTS):
        raise ValueError(f"weights has {len(weights)} tensors, expected {', '.join(WEIGHTS)}")
    named = dict(zip(WEIGHTS, weights, strict=True))
    check_single(xz=xz, **named, conv_state=conv_state, state=state)
    check_on_cpu(offsets=offsets)
    check_dims("xz", xz, 2)
    check_dims("in_proj", named["in_proj"], 3)
    check_dims("conv_weight", named["conv_weight"], 3)
    check_sizes(named)
    G, c, _ = weights[0].shape
    if xz.shape[1] != 2 * G * c:
        raise ValueError(f"xz has {xz.shape[1]} columns, expected {2 * G * c}")
    check_offsets(offsets, xz.shape[0])
    U, E = offsets.numel() - 1, weights[1].shape[1]
    F, K = weights[2].shape[1:]
    check_shapes({"conv_state": (conv_state, (U, K - 1, G, F)), "state": (state, (U, G, E, (F - E) // 2))})


def check_sizes(named: dict[str, Tensor]) -> None:
    """The widths that follow from in_proj and conv_weight make sense, and the other weights have them."""
    G, c, width = named["in_proj"].shape
    F, K = named["conv_weight"].shape[1:]
    E = width - F - 1
    N = (F - E) // 2
    if c < 1 or E < 1 or N < 1 or F != E + 2 * N:
        raise ValueError(f"in_proj {tuple(named['in_proj'].shape)}, {F} convolved channels do not fit")
    check_taps(K)
    shapes = {"out_proj": (G, E, c), "conv_weight": (G, F, K), "conv_bias": (G, F), "skip": (G, E), "norm": (G, E)}
    shapes |= {"A": (G, 1), "dt_bias": (G, 1)}
    check_shapes({name: (named[name], shape) for name, shape in shapes.items()})
