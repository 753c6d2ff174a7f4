"""The Mamba-2 scan alone, forward and backward, against this core's rate of matrix products."""

import torch
from torch import Tensor

from hydrarec.bench.ceilings import gemm
from hydrarec.bench.contenders import histories
from hydrarec.bench.flops import scan_backward_flops, scan_forward_flops
from hydrarec.bench.measure import Variant, interleave
from hydrarec.bench.rows import Measured, Subject, rows
from hydrarec.bench.scale import Scale
from hydrarec.nn.config import EncoderConfig
from hydrarec.ops import selective_scan


def forward_vs_gemm(scale: Scale) -> Measured:
    x, dt, A, B, C = _inputs(scale)
    offsets = _offsets(scale)

    @torch.no_grad()
    def run(_: object) -> None:
        selective_scan(x, dt, A, B, C, offsets)

    return _against_gemm("scan forward", Variant(run=run), scan_forward_flops(*_sizes(scale)), scale)


def backward_vs_gemm(scale: Scale) -> Measured:
    """The time of ``backward`` alone, for the gradients of all five inputs."""
    inputs = x, dt, A, B, C = [each.requires_grad_() for each in _inputs(scale)]
    offsets, weights = _offsets(scale), torch.randn_like(x)

    def prepare() -> Tensor:
        for each in inputs:
            each.grad = None
        return selective_scan(x, dt, A, B, C, offsets)[0]

    variant = Variant(run=lambda y: y.backward(weights), prepare=prepare)
    return _against_gemm("scan backward", variant, scan_backward_flops(*_sizes(scale)), scale)


def _sizes(scale: Scale) -> tuple[int, int, int]:
    """Heads, inner width and state size: Hydra's own."""
    config = EncoderConfig(d_model=scale.narrow)
    return config.n_heads, config.inner, config.d_state


def _inputs(scale: Scale) -> list[Tensor]:
    """x, dt, A, B, C as ``selective_scan`` takes them."""
    G, E, N = _sizes(scale)
    T = scale.batch * scale.length
    dt, A = 0.001 + 0.1 * torch.rand(T, G, 1), -1 - 15 * torch.rand(G, 1)
    return [torch.randn(T, G, E), dt, A, torch.randn(T, G, N), torch.randn(T, G, N)]


def _offsets(scale: Scale) -> Tensor:
    return histories([scale.length] * scale.batch).offsets


def _against_gemm(work: str, variant: Variant, flops: int, scale: Scale) -> Measured:
    """Rate of the kernel as a share of that of a large matrix product, both on one core."""
    G, E, N = _sizes(scale)
    events = scale.batch * scale.length
    shape = f"{scale.batch} x {scale.length}, {G} heads, E {E}, N {N}"
    subjects = {
        "scan": Subject(variant=variant, events=events, work=work, shape=shape, flops=events * flops),
        "GEMM": gemm(scale.gemm),
    }
    found = rows(subjects, interleave({name: subject.variant for name, subject in subjects.items()}, scale))
    rates = {name: each.gflops or 0.0 for name, each in found.items()}
    return Measured(rates["scan"] / rates["GEMM"], list(found.values()))
