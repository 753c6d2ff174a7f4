"""Calls every kernel over odd shapes, with every instruction set; test_sanitizers.py runs it on a build of its own."""

import itertools

import test_kernel_conv
import test_kernel_scan
import test_mixer
import torch
from kernel_cases import ISAS, outcome, using
from support import offsets_of

from hydrarec.ops import elementwise

SIZES = [65, 0, 1, 3, 64]


def scans() -> None:
    for mamba, (m, P, N) in itertools.product((1, 2), [(1, 1, 1), (2, 16, 16), (3, 5, 17), (1, 33, 3), (2, 8, 8)]):
        problem = test_kernel_scan.problem(mamba, 2, m, P, N, SIZES)
        outcome(test_kernel_scan.scan("kernel", offsets_of(SIZES)), problem, torch.float32)
    for sizes in ([], [0]):
        problem = test_kernel_scan.problem(2, 2, 1, 5, 6, sizes)
        outcome(test_kernel_scan.scan("kernel", offsets_of(sizes)), problem, torch.float32)


def convolutions() -> None:
    for taps, F, sizes in itertools.product((1, 2, 4), (1, 5, 16, 33), (SIZES, [], [0])):
        problem = test_kernel_conv.problem(taps, sizes, F=F)
        outcome(test_kernel_conv.ours(offsets_of(sizes)), problem, torch.float32)
        del problem["state"]
        outcome(test_kernel_conv.ours(offsets_of(sizes)), problem, torch.float32)


def mixers() -> None:
    shapes = [
        (2, 16, 32, 16, 1, 4),
        (1, 2, 1, 1, 1, 1),
        (2, 6, 10, 3, 2, 2),
        (1, 34, 48, 33, 3, 3),
        (2, 8, 16, 8, 2, 4),
    ]
    for (G, c, E, N, m, K), rope in itertools.product(shapes, ("none", "z", "x")):
        problem = test_mixer.problem(SIZES, G, c, E, N, m, K, shared=rope == "x")
        outcome(test_mixer.kernel(SIZES, rope), problem, torch.float32)
        if rope == "z":
            del problem["conv_state"], problem["state"]
            outcome(test_mixer.kernel(SIZES, rope), problem, torch.float32)
    for sizes in ([], [0]):
        outcome(test_mixer.kernel(sizes, "z"), test_mixer.problem(sizes), torch.float32)


def rows() -> None:
    for T, d in itertools.product((0, 1, 130), (1, 5, 16, 33)):
        x, other = torch.randn(T, d), torch.randn(T, d)
        outcome(lambda x, weight: (elementwise.rms_norm(x, weight, 1e-5),), {"x": x, "weight": other.new_ones(d)},
                torch.float32)  # fmt: skip
        outcome(lambda x: (elementwise.silu_mul(x),), {"x": torch.cat([x, other], 1)}, torch.float32)
        outcome(lambda x, base: (elementwise.dropout_add(base, x, 0.5, True),), {"x": x, "base": other}, torch.float32)


if __name__ == "__main__":
    for isa, threads in (*((isa, 1) for isa in ISAS), (ISAS[0], 2)):
        with using(isa, threads):
            for calls in (scans, convolutions, mixers, rows):
                calls()
        print("clean:", isa, threads, flush=True)
