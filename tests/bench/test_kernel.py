"""The scan alone, and what it is compared with."""

import pytest
import torch

from hydrarec.bench import ceilings, figures, flops, kernel
from hydrarec.ops import selective_scan


def test_hand_counted_flops():
    assert flops.scan_forward_flops(4, 32, 16) == 4 * 4 * 32 * 16
    assert flops.scan_backward_flops(1, 2, 3) == 12 * 2 * 3


def test_ceilings(tiny):
    found = ceilings.ceilings(tiny)
    assert set(found) == {
        "gemm_float32_gflops",
        "gemm_float32_best_gflops",
        "gemm_bfloat16_gflops",
        "memory_gb_per_s",
    }
    assert 0 < found["gemm_float32_gflops"] <= found["gemm_float32_best_gflops"]
    assert ceilings.gemm(10).flops == 2000


def test_the_value_is_a_quotient_of_rates_of_one_core(tiny):
    for name, work in (("forward_vs_gemm", "scan forward"), ("backward_vs_gemm", "scan backward")):
        value, (scan, gemm) = figures.measure(name, tiny)
        assert value == pytest.approx(scan.gflops / gemm.gflops)
        assert (scan.work, scan.threads, gemm.threads) == (work, 1, 1)
        assert scan.shape == "3 x 12, 4 heads, E 4, N 16"


def test_rates_follow_from_the_hand_counted_flops(tiny):
    _, (scan, gemm) = figures.measure("forward_vs_gemm", tiny)
    seconds = scan.us_per_call_wall / 1e6
    assert scan.gflops == pytest.approx(36 * flops.scan_forward_flops(4, 4, 16) / seconds / 1e9)
    assert gemm.gflops == pytest.approx(2 * 16**3 / (gemm.us_per_call_wall / 1e6) / 1e9)


def test_forward_keeps_nothing_and_backward_reaches_all_five_inputs(tiny, monkeypatch):
    seen = []

    def watched(*given):
        y, state = selective_scan(*given)
        seen.append((given[:5], y))
        return y, state

    monkeypatch.setattr(kernel, "selective_scan", watched)
    kernel.forward_vs_gemm(tiny)
    assert not any(y.requires_grad for _, y in seen)
    seen.clear()
    kernel.backward_vs_gemm(tiny)
    inputs, _ = seen[-1]
    assert all(each.grad is not None and torch.isfinite(each.grad).all() for each in inputs)
    assert len(seen) == 3  # one forward for each round, the warm-up among them


def test_a_ceiling_is_the_fastest_call(monkeypatch):
    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

    clock = Clock()
    left = [9.0, 4.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]  # the first one warms up

    def call():
        clock.now += left.pop(0)

    monkeypatch.setattr(ceilings, "time", clock)
    assert ceilings._best(call) == 2.0
    assert not left
