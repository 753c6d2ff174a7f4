import time
from dataclasses import replace

import pytest
import torch

from hydrarec.bench import measure
from hydrarec.bench.measure import Timing, Variant, default_threads, interleave, threads
from hydrarec.bench.rows import Subject, row, rows
from hydrarec.bench.scale import Scale


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only where a variant says so."""

    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

        def process_time(self):
            return 2 * self.now  # two threads at work

    made = Clock()
    monkeypatch.setattr(measure, "time", made)
    return made


def taking(clock, seconds):
    """A variant whose calls take these seconds, one after the other, the last one for ever."""
    left = list(seconds)

    def run():
        clock.now += left.pop(0) if len(left) > 1 else left[0]

    return Variant(run=run)


def test_every_variant_runs_once_a_round_and_the_first_round_warms_up(clock):
    ran = []
    variants = {name: Variant(run=lambda name=name: ran.append(name)) for name in "abc"}
    timings = interleave(variants, Scale(rounds=3, seconds=0))
    assert ran == list("abc") * 4
    assert {timing.rounds for timing in timings.values()} == {3}


def test_medians_of_wall_and_process_time(clock):
    variants = {"a": taking(clock, [50, 1, 9, 2]), "b": taking(clock, [7])}
    timings = interleave(variants, Scale(rounds=3, seconds=0, limit=1e9))
    assert timings["a"].wall == (1, 9, 2)
    assert (timings["a"].wall_median, timings["a"].cpu_median) == (2, 4)
    assert (timings["b"].wall_median, timings["b"].spread) == (7, 0)


def test_spread_is_the_middle_half_over_the_median():
    assert Timing((1.0, 2.0, 3.0, 4.0, 100.0), (1.0,) * 5).spread == pytest.approx(2 / 3)
    assert Timing((1.0,), (1.0,)).spread == 0


def test_rounds_go_on_while_there_is_time(clock):
    scale = Scale(rounds=3, seconds=10, limit=100)
    assert interleave({"a": taking(clock, [1])}, scale)["a"].rounds == 9  # after a round of warming up
    assert interleave({"a": taking(clock, [1])}, scale, share=0.5)["a"].rounds == 4


@pytest.mark.parametrize(("seconds", "rounds"), [(30, 3), (60, 1), (1000, 1)])
def test_the_limit_ends_it_before_a_round_that_would_not_fit(clock, seconds, rounds):
    timing = interleave({"a": taking(clock, [seconds])}, Scale(rounds=7, seconds=0, limit=100))["a"]
    assert timing.rounds == rounds  # the first round counts where so few fit
    assert clock.now <= max(100, seconds)


def test_repeated_calls_count_each(clock):
    variant = replace(taking(clock, [3]), repeat=5)
    assert interleave({"a": variant}, Scale(rounds=1, seconds=0))["a"].wall == (3,)
    assert clock.now == 2 * 5 * 3


def test_threads_are_set_for_a_run_and_restored():
    before, seen = torch.get_num_threads(), []
    variants = {str(n): Variant(run=lambda: seen.append(torch.get_num_threads()), threads=n) for n in (2, 1)}
    interleave(variants, Scale(rounds=1, seconds=0))
    assert seen == [2, 1, 2, 1]
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError), threads(before + 1):
        _ = 1 / 0
    assert torch.get_num_threads() == before
    assert default_threads() == min(2, before)


def test_cpu_time_does_not_pass_while_a_variant_sleeps():
    timing = interleave({"a": Variant(run=lambda: time.sleep(0.02))}, Scale(rounds=2, seconds=0))["a"]
    assert timing.cpu_median < 0.02 <= timing.wall_median


def test_a_row_says_what_its_subject_did():
    subject = Subject(
        variant=Variant(run=print, threads=2), events=100, work="step", shape="s", parameters=5, flops=2e9, note="n"
    )
    found = row("a", subject, Timing((0.5, 1.0, 1.5), (1.0, 2.0, 3.0)))
    assert (found.events_per_s, found.us_per_event_wall, found.us_per_event_cpu) == (100, 10_000, 20_000)
    assert (found.us_per_call_wall, found.gflops, found.rounds, found.threads) == (1e6, 2, 3, 2)
    assert found.to_dict()["note"] == "n"
    plain = rows({"a": replace(subject, flops=None, note="")}, {"a": Timing((1.0,), (1.0,))})["a"].to_dict()
    assert not plain.keys() & {"gflops", "note", "figure", "length"}
