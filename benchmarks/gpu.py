"""What a GPU makes of Hydra: agreement of every operation with the plain form in float64, its speed, and a training
step of the encoder against SASRec with PyTorch's fused attention, lengths 200 to 65,536.

    python benchmarks/gpu.py > gpu.json

Prints one JSON object. Without a GPU it says so and exits with status 2.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hydrarec.data.batch import Batch
from hydrarec.nn.config import EncoderConfig
from hydrarec.nn.encoder import HydraEncoder
from hydrarec.nn.swiglu import SwiGLU
from hydrarec.ops import causal_conv
from hydrarec.ops.chunked import scan_chunked
from hydrarec.ops.gpu.conv import causal_conv_silu
from hydrarec.ops.gpu.interact import interact
from hydrarec.ops.gpu.mamba1 import scan_mamba1
from hydrarec.ops.gpu.norm import gated_rms_norm, rms_norm
from hydrarec.ops.gpu.ssd import scan_ssd
from hydrarec.ops.gpu.swiglu import swiglu

Run = Callable[..., Tensor]
G, E, N, K = 4, 32, 16, 4  # heads, inner width, states and taps at d 64


class SASRec(nn.Module):
    """Kang & McAuley 2018 on rectangles (U, L, d), with the norms and the feed-forward part that Hydra has."""

    def __init__(self, d: int, n_layers: int, n_heads: int = 2) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norms = nn.ModuleList(nn.RMSNorm(d, eps=1e-6) for _ in range(2 * n_layers))
        self.qkv = nn.ModuleList(nn.Linear(d, 3 * d, bias=False) for _ in range(n_layers))
        self.out = nn.ModuleList(nn.Linear(d, d, bias=False) for _ in range(n_layers))
        self.ffn = nn.ModuleList(SwiGLU(d, 2 * d) for _ in range(n_layers))

    def forward(self, h: Tensor) -> Tensor:
        for i, (qkv, out, ffn) in enumerate(zip(self.qkv, self.out, self.ffn, strict=True)):
            q, k, v = qkv(self.norms[2 * i](h)).unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (U, heads, L, d / heads)
            h = h + out(mixed.transpose(1, 2).flatten(2))
            h = h + ffn(self.norms[2 * i + 1](h))
        return h


def cases(users: int, length: int, device: str) -> dict[str, tuple[Run, Run, list[Tensor]]]:
    """For each operation: the GPU's form, the plain form, and float32 inputs of ``users`` histories."""
    T = users * length
    offsets = torch.arange(users + 1, device=device) * length
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    def scan(mamba: int) -> list[Tensor]:
        step = F.softplus(normal(T, G, E if mamba == 1 else 1) - 4)
        rates = -normal(G, E, N).exp() if mamba == 1 else -normal(G, 1).exp()
        return [normal(T, G, E), step, rates, normal(T, G, N), normal(T, G, N), normal(users, G, E, N)]

    def packed(run: Callable[..., tuple[Tensor, Tensor]], **options: object) -> Run:
        return lambda *v: run(*v[:5], offsets, v[5], **options)[0]

    def plain_conv(x: Tensor, weight: Tensor, bias: Tensor, state: Tensor) -> Tensor:
        return F.silu(causal_conv(x, weight, bias, offsets, state)[0])

    plain, wide = packed(scan_chunked), E + 2 * N
    return {
        "mamba2 bfloat16": (packed(scan_ssd, operands=torch.bfloat16), plain, scan(2)),
        "mamba2 float32": (packed(scan_ssd, operands=torch.float32), plain, scan(2)),
        "mamba1": (packed(scan_mamba1), plain, scan(1)),
        "conv": (
            lambda x, w, b, s: causal_conv_silu(x, w, b, offsets, s)[0],
            plain_conv,
            [normal(T, G, wide), normal(G, wide, K), normal(G, wide), normal(users, K - 1, G, wide)],
        ),
        "norm": (
            lambda x, w: rms_norm(x, w, 1e-6),
            lambda x, w: F.rms_norm(x, w.shape, w, 1e-6),
            [normal(T, 64), normal(64)],
        ),
        "gated norm": (
            lambda y, gate, w: gated_rms_norm(y, gate, w, 1e-5),
            lambda y, gate, w: F.rms_norm(y * F.silu(gate), (E,), eps=1e-5) * w,
            [normal(T, G, E), normal(T, G, E), normal(G, E)],
        ),
        "swiglu": (swiglu, lambda x: F.silu(x[:, :128]) * x[:, 128:], [normal(T, 256)]),
        "interact": (
            lambda y, z: interact(y, z, 0.5),
            lambda y, z: y * (1 + F.silu(z)) * 0.5,
            [normal(T, G, 16), normal(T, G, 16)],
        ),
    }


def outcome(run: Run, inputs: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The result, and the gradients of a fixed linear function of it."""
    leaves = [v.to(dtype).detach().requires_grad_() for v in inputs]
    y = run(*leaves)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    return [y.detach(), *torch.autograd.grad(y, leaves, weight)]


def disagreement(fused: Run, plain: Run, inputs: list[Tensor]) -> dict[str, float]:
    """Largest difference to the plain form in float64, relative to its largest value: forward and gradients."""
    pairs = zip(outcome(fused, inputs, torch.float32), outcome(plain, inputs, torch.float64), strict=True)
    forward, *gradients = (((a - b).abs().max() / b.abs().max().clamp(min=1e-30)).item() for a, b in pairs)
    return {"forward": forward, "gradients": max(gradients)}


def seconds(steps: dict[str, Callable[[], None]], repeats: int, device: str) -> dict[str, float]:
    """Median time of each step, the steps interleaved, after two rounds that compile and warm up."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if device == "cuda":
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[2:]) for name, values in times.items()}


def gradients(run: Run, leaves: list[Tensor]) -> None:
    torch.autograd.grad(run(*leaves).sum(), leaves)


def operations(users: int, length: int, repeats: int, device: str) -> list[dict[str, object]]:
    """Rows: agreement at a moderate size, and millions of events/s, forward and backward, of both forms."""
    rows: list[dict[str, object]] = []
    for name, (fused, plain, inputs) in cases(users, length, device).items():
        leaves = [v.requires_grad_() for v in inputs]
        took = seconds(
            {label: partial(gradients, run, leaves) for label, run in (("fused", fused), ("plain", plain))},
            repeats,
            device,
        )
        rates = {f"{label}_million_events_per_s": users * length / took[label] / 1e6 for label in took}
        rows.append({"operation": name, "length": length, "disagreement": disagreement(fused, plain, inputs), **rates})
    return rows


def training(
    events: int, length: int, precision: torch.dtype, repeats: int, device: str, d: int = 64
) -> list[dict[str, object]]:
    """Rows: events/s of a training step (forward, backward) of two layers, and peak memory, for Hydra and SASRec."""
    users = max(1, events // length)
    T = users * length
    hydra, sasrec = HydraEncoder(EncoderConfig(d_model=d, dropout=0.0)).to(device), SASRec(d, 2).to(device)
    x = torch.randn(T, d, device=device, requires_grad=True)
    zeros = torch.zeros(T, dtype=torch.int64)
    batch = Batch(items=zeros, times=zeros, offsets=torch.arange(users + 1) * length).to(device)

    def step(model: nn.Module, run: Callable[[], Tensor]) -> None:
        with torch.autocast(device, precision, enabled=precision is not torch.float32):
            loss = run().float().square().mean()
        torch.autograd.grad(loss, [x, *model.parameters()])

    steps = {
        "hydra": lambda: step(hydra, lambda: hydra(x, batch)[0]),
        "sasrec": lambda: step(sasrec, lambda: sasrec(x.view(users, length, d))),
    }
    peaks = {name: _peak(run, device) for name, run in steps.items()}
    return [
        {
            "model": name,
            "length": length,
            "users": users,
            "precision": str(precision).removeprefix("torch."),
            "events_per_s": T / took,
            "peak_bytes_per_event": peaks[name] / T,
        }
        for name, took in seconds(steps, repeats, device).items()
    ]


def _peak(run: Callable[[], None], device: str) -> int:
    if device != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return torch.cuda.max_memory_allocated() - before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=262_144, help="events of a batch (default %(default)s)")
    parser.add_argument("--lengths", type=int, nargs="+", default=[200, 1024, 8192, 65_536])
    parser.add_argument("--repeats", type=int, default=11)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks/gpu.py: this machine has no GPU that torch can use: nothing measured", file=sys.stderr)
        return 2
    rows = [
        row
        for length in arguments.lengths
        for precision in (torch.float32, torch.bfloat16)
        for row in training(arguments.events, length, precision, arguments.repeats, "cuda")
    ]
    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = None
    versions = {"torch": torch.__version__, "triton": triton}
    measured = {
        "device": torch.cuda.get_device_name(),
        **versions,
        "training": rows,
        "operations": operations(128, 200, arguments.repeats, "cuda")
        + operations(1, 32_768, arguments.repeats, "cuda"),
    }
    print(json.dumps(measured, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
