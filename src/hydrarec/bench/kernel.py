"""The Mamba-2 scan alone, forward and backward, against this core's rate of matrix products.

A product's operands lie in cache, so the scan's do too: one history, tensors allocated before. The window of a training
batch comes from memory; its rows say which share of a copy's bandwidth it reaches.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from hydrarec.bench.ceilings import copy, gemm
from hydrarec.bench.contenders import histories
from hydrarec.bench.flops import scan_backward_flops, scan_forward_flops
from hydrarec.bench.measure import Variant, interleave
from hydrarec.bench.rows import Measured, Row, Subject, rows
from hydrarec.bench.scale import Scale
from hydrarec.nn.config import EncoderConfig
from hydrarec.ops import selective_scan
from hydrarec.ops.kernel_scan import bounds_shape, scan_sizes
from hydrarec.ops.library import chunk_starts, kernels

_CALLS = 100  # of the scan in cache make one measurement


class Problem:
    """Inputs and outputs of the scan over ``users`` histories of ``length`` events, Hydra's own sizes.

    Without compiled kernels the plain scan runs, which allocates its outputs itself.
    """

    def __init__(self, scale: Scale, users: int, length: int) -> None:
        config = EncoderConfig(d_model=scale.narrow)
        self.sizes = G, E, N = config.n_heads, config.inner, config.d_state
        self.events = T = users * length
        self.shape = f"{users} x {length}, {G} heads, E {E}, N {N}"
        self.offsets = histories([length] * users).offsets
        self.x, self.dy = torch.randn(2, T, G, E)
        self.dt, self.A = 0.001 + 0.1 * torch.rand(T, G, 1), -1 - 15 * torch.rand(G, 1)
        self.B, self.C = torch.randn(2, T, G, N)
        self.y, self.dx, self.ddt = map(torch.empty_like, (self.x, self.x, self.dt))
        self.dA = torch.zeros_like(self.A)  # what a call gives is added
        self.dB, self.dC = torch.empty(2, T, G, N)
        self.state, self.final, self.dstate = torch.zeros(3, users, G, E, N)
        starts = chunk_starts(self.offsets)
        self.bounds = torch.empty(bounds_shape(self.A, self.state, int(starts[-1])))
        self._tensors = (self.offsets, starts, self.x, self.dt, self.A, self.B, self.C)

    def inputs(self) -> list[Tensor]:
        return [self.x, self.dt, self.A, self.B, self.C]

    def _plain(self) -> tuple[Tensor, Tensor]:
        return selective_scan(self.x, self.dt, self.A, self.B, self.C, self.offsets)

    def forward(self, keep: bool = False) -> Callable[[], object]:
        """``keep``: what the backward needs."""
        found = kernels()
        if found is None:
            return torch.no_grad()(self._plain)
        tensors = (*self._tensors, self.state, self.bounds if keep else None)
        return found.prepare("mamba2_scan_forward", scan_sizes(*tensors), tensors, (self.y, self.final), 1)

    def backward(self) -> Callable[[], object]:
        """The gradients of all five inputs and of the state."""
        found = kernels()
        if found is None:
            leaves = [each.requires_grad_() for each in self.inputs()]
            y, _ = self._plain()
            return lambda: torch.autograd.grad(y, leaves, self.dy, retain_graph=True)
        self.forward(keep=True)()
        tensors = (*self._tensors, None, self.bounds)
        outputs = (self.dx, self.ddt, self.dA, self.dB, self.dC, self.dstate)
        sizes = [*scan_sizes(*tensors), *self.dy.stride()[:2]]
        return found.prepare("mamba2_scan_backward", sizes, tensors, (self.dy, None), outputs, 1)


def forward_vs_gemm(scale: Scale) -> Measured:
    def touched(p: Problem) -> list[Tensor]:
        return [*p.inputs(), p.y]

    return _against_gemm("scan forward", Problem.forward, touched, scan_forward_flops, scale)


def backward_vs_gemm(scale: Scale) -> Measured:
    def touched(p: Problem) -> list[Tensor]:
        return [*p.inputs(), p.dy, p.bounds, p.dx, p.ddt, p.dB, p.dC]

    return _against_gemm("scan backward", Problem.backward, touched, scan_backward_flops, scale)


def _against_gemm(
    work: str,
    call: Callable[[Problem], Callable[[], object]],
    touched: Callable[[Problem], list[Tensor]],
    flops: Callable[[int, int, int], int],
    scale: Scale,
) -> Measured:
    """Rate of the kernel as a share of that of a large matrix product, both on one core.

    Args:
        call: makes what is timed.
        touched: the tensors that it reads or writes.
    """
    near, far = Problem(scale, 1, scale.cached_history), Problem(scale, scale.batch, scale.length)

    def subject(problem: Problem, repeat: int) -> Subject:
        variant = Variant(run=call(problem), repeat=repeat)
        total = problem.events * flops(*problem.sizes)
        return Subject(variant=variant, events=problem.events, work=work, shape=problem.shape, flops=total)

    subjects = {
        "scan": subject(near, _CALLS),
        "GEMM": gemm(scale.gemm),
        "scan from memory": subject(far, 1),
        "copy": copy(64 * scale.gemm**2),
    }
    found = rows(subjects, interleave({name: each.variant for name, each in subjects.items()}, scale))
    moved = 4 * sum(tensor.numel() for tensor in touched(far))
    found["scan from memory"] = _with_bandwidth(found["scan from memory"], moved, found["copy"], 128 * scale.gemm**2)
    rates = {name: found[name].gflops or 0.0 for name in ("scan", "GEMM")}
    return Measured(rates["scan"] / rates["GEMM"], list(found.values()))


def _with_bandwidth(row: Row, moved: int, of_copy: Row, copied: int) -> Row:
    """With a note on the bytes moved a second, and their share of what a copy reads and writes."""
    rate, best = moved / row.us_per_call_wall / 1e3, copied / of_copy.us_per_call_wall / 1e3
    return replace(row, note=f"{rate:.1f} GB/s, {rate / best:.0%} of a copy's")
