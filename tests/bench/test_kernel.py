"""The scan alone, and what it is compared with."""

import pytest
import torch

from hydrarec.bench import ceilings, figures, flops, kernel
from hydrarec.ops import selective_scan
from hydrarec.ops.library import kernels


def test_hand_counted_flops():
    assert flops.scan_forward_flops(4, 32, 16) == 4 * (4 * 32 * 16 + 2 * 32 + 23)
    assert flops.scan_backward_flops(1, 2, 3) == 12 * 2 * 3 + 7 * 2 + 12 * 3 + 23


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
        value, (scan, gemm, far, copy) = figures.measure(name, tiny)
        assert value == pytest.approx(scan.gflops / gemm.gflops)
        assert (scan.work, scan.threads, gemm.threads) == (work, 1, 1)
        assert (scan.shape, far.shape) == ("1 x 70, 4 heads, E 4, N 16", "3 x 12, 4 heads, E 4, N 16")
        assert (far.work, copy.gflops) == (work, None)


def test_rates_follow_from_the_hand_counted_flops(tiny):
    _, (scan, gemm, far, copy) = figures.measure("forward_vs_gemm", tiny)
    for row, events in ((scan, 70), (far, 36)):
        seconds = row.us_per_call_wall / 1e6
        assert row.gflops == pytest.approx(events * flops.scan_forward_flops(4, 4, 16) / seconds / 1e9)
    assert gemm.gflops == pytest.approx(2 * 16**3 / (gemm.us_per_call_wall / 1e6) / 1e9)
    moved = 4 * (36 * 4 * (4 + 4 + 1 + 16 + 16) + 4) / far.us_per_call_wall / 1e3
    copied = 128 * 16**2 / copy.us_per_call_wall / 1e3
    assert far.note == f"{moved:.1f} GB/s, {moved / copied:.0%} of a copy's"


def test_what_is_timed_is_the_scan_and_its_gradients(tiny):
    if kernels() is None:
        pytest.skip("the compiled kernels fill tensors, the plain scan returns them")
    problem = kernel.Problem(tiny, 2, 70)
    problem.backward()()
    leaves = [each.double().requires_grad_() for each in problem.inputs()]
    y, final = selective_scan(*leaves, problem.offsets, backend="reference")
    torch.testing.assert_close((problem.y, problem.final), (y.float(), final.float()))
    found = (problem.dx, problem.ddt, problem.dA, problem.dB, problem.dC)
    expected = torch.autograd.grad(y, leaves, problem.dy.double())
    torch.testing.assert_close(found, tuple(each.float() for each in expected), rtol=1e-4, atol=1e-3)


def test_without_kernels_the_plain_scan_is_timed(tiny, monkeypatch):
    monkeypatch.setattr(kernel, "kernels", lambda: None)
    for measured in (kernel.forward_vs_gemm, kernel.backward_vs_gemm):
        assert measured(tiny).value > 0


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
