"""The figures by name: what ``hydrarec bench NAME`` measures."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from hydrarec.bench import against, kernel, memory, softmax, stepping
from hydrarec.bench.rows import Measured, Row
from hydrarec.bench.scale import Scale
from hydrarec.config import nearest
from hydrarec.errors import InputError

# "vs": how many times the rival's events/s Hydra's are. "over": a plain quotient. Two layers throughout.
FIGURES: dict[str, Callable[[Scale], Measured]] = {
    "train_d64_vs_sasrec": against.narrow_vs_sasrec,
    "train_d64_vs_hstu": against.narrow_vs_hstu,
    "train_d256_vs_sasrec": against.wide_vs_sasrec,
    "packed_vs_sasrec_bucketed": partial(against.packed_vs_sasrec, bucketed=True),
    "packed_vs_sasrec_padded": partial(against.packed_vs_sasrec, bucketed=False),
    "cost_65536_over_1024": against.long_over_short,
    "long_8192_vs_sasrec": partial(against.long_vs_sasrec, place=0),
    "long_32768_vs_sasrec": partial(against.long_vs_sasrec, place=1),
    "bytes_per_event_layer_65536": memory.bytes_per_event_and_layer,
    "forward_vs_gemm": kernel.forward_vs_gemm,
    "backward_vs_gemm": kernel.backward_vs_gemm,
    "softmax_vs_torch": softmax.softmax_vs_torch,
    "threads_2_over_1": against.two_threads,
    "threads_2_over_1_long": against.two_threads_long,
    "step_us_batch1": stepping.microseconds,
    "steps_per_s_batch1024": stepping.events_per_second,
    "step_50000_over_10": stepping.many_over_few,
    "fallback_vs_sasrec": against.fallback_vs_sasrec,
}


def chosen(names: Sequence[str]) -> list[str]:
    """The names as asked for, each once; without any, all.

    Raises:
        InputError: there is no such figure.
    """
    for name in names:
        if name not in FIGURES:
            raise InputError(f"there is no figure {name!r}{nearest(name, FIGURES)}")
    return list(dict.fromkeys(names)) or list(FIGURES)


def measure(name: str, scale: Scale) -> tuple[float, list[Row]]:
    """The value of a figure, and its rows under its name."""
    found = FIGURES[name](scale)
    return found.value, [replace(row, figure=name) for row in found.rows]
