"""Cross-entropy of the softmax over a whole catalog, with its gradients, in one kernel."""

import torch
from torch import Tensor

from hydrarec.ops.library import dense_rows, kernels, required_kernels
from hydrarec.ops.operators import operator

FASTER = ("avx512", "avx2")  # sets on which the kernel is faster than torch's products of tiles


def softmax_fits(hidden: Tensor, catalog: Tensor) -> bool:
    """Whether the kernel takes these, and is faster: matrices of float32 on the CPU, the catalog not empty."""
    both, found = (hidden, catalog), kernels()
    single = all(t.dtype == torch.float32 and t.device.type == "cpu" and t.dim() == 2 for t in both)
    return single and catalog.numel() > 0 and found is not None and found.isa in FASTER


@operator("softmax_cross_entropy")
def softmax_cross_entropy(
    hidden: Tensor, catalog: Tensor, targets: Tensor, gradients: bool = True, half: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean cross-entropy of softmax(hidden @ catalog.T) at ``targets``, and its gradients.

    Products run on matrix tiles (AMX) where the processor has them: logits as accurately as in float32, gradients to
    about 1e-5. Memory is that of the arguments, whatever the number of logits. Input that is not finite makes the mean
    NaN.

    Args:
        hidden: (T, d) float32.
        catalog: (V, d) float32.
        targets: (T,) int64, rows of ``catalog``.
        gradients: without them, half the work.
        half: products are of operands rounded to bfloat16, summed in float32. With matrix tiles these include the
            gradients of the logits, and it takes half the time; without, only ``hidden`` and ``catalog`` are rounded.

    Returns:
        () the mean, 0 for no events; (T, d) and (V, d) its gradients, empty where they are not wanted.

    Raises:
        ValueError: shapes or dtypes do not fit, or a target is no row of ``catalog``.
    """
    (T, d), V = hidden.shape, len(catalog)
    _check(hidden, catalog, targets)
    mean = torch.zeros(())
    d_hidden, d_catalog = (torch.zeros(n, d) if gradients else torch.zeros(0) for n in (T, V))
    if T:
        found = required_kernels()
        if half and not found.tiles:
            hidden, catalog = hidden.bfloat16().float(), catalog.bfloat16().float()
        hidden, catalog = dense_rows(hidden), dense_rows(catalog)
        sizes = [T, V, d, hidden.stride(0), catalog.stride(0), int(found.tiles), int(half)]
        out = [mean, *((d_hidden, d_catalog) if gradients else (None, None))]
        arguments = (sizes, [hidden, catalog], [targets.contiguous()], out, torch.get_num_threads())
        found.call("softmax_cross_entropy", *arguments)
    return mean, d_hidden, d_catalog


def _check(hidden: Tensor, catalog: Tensor, targets: Tensor) -> None:
    for name, tensor in (("hidden", hidden), ("catalog", catalog)):
        if tensor.dim() != 2 or tensor.dtype != torch.float32 or tensor.device.type != "cpu":
            raise ValueError(f"{name} must be a matrix of float32 on the CPU")
    if hidden.shape[1] != catalog.shape[1] or not catalog.numel():
        raise ValueError(f"hidden has {hidden.shape[1]} columns, catalog has shape {tuple(catalog.shape)}")
    if targets.shape != hidden.shape[:1] or targets.dtype != torch.int64 or targets.device.type != "cpu":
        raise ValueError(f"targets must be {len(hidden)} int64 on the CPU")
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < len(catalog):
        raise ValueError(f"targets run from {targets.min()} to {targets.max()}, the catalog has {len(catalog)} rows")


@softmax_cross_entropy.register_fake
def _(
    hidden: Tensor, catalog: Tensor, targets: Tensor, gradients: bool = True, half: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    shapes = (hidden.shape, catalog.shape) if gradients else ((0,), (0,))
    d_hidden, d_catalog = (hidden.new_empty(shape) for shape in shapes)
    return hidden.new_empty(()), d_hidden, d_catalog
