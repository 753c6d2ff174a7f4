"""Whatever operators are called with: they raise an error that names the argument, or give the right result."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import LOADED, needs_kernels
from support import offsets_of
from test_operators import BACKWARD, SIZES, conv_arguments, mixer_arguments, rows, scan_arguments

from hydrarec.ops import elementwise
from hydrarec.ops.kernel_conv import kernel_conv
from hydrarec.ops.kernel_scan import kernel_scan
from hydrarec.ops.library import Kernels
from hydrarec.ops.mixer import mixer

pytestmark = needs_kernels
SCAN = ("x", "dt", "A", "B", "C", "offsets", "state", "keep")
CONV = ("x", "weight", "bias", "offsets", "state")
MIXER = (
    *("xz", "in_proj", "out_proj", "conv_weight", "conv_bias", "skip", "norm", "A", "dt_bias"),
    *("offsets", "conv_state", "state", "scale", "keep"),
)
FORWARD = {
    "mamba1_scan": (kernel_scan, SCAN, lambda: scan_arguments(1, True)),
    "mamba2_scan": (kernel_scan, SCAN, lambda: scan_arguments(2, True)),
    "conv_silu": (kernel_conv, CONV, conv_arguments),
    "mixer": (mixer, MIXER, lambda: mixer_arguments(True)),
}
T = sum(SIZES)


def call(name, **changes):
    operator, names, arguments = FORWARD[name]
    return operator(**{**dict(zip(names, arguments(), strict=True)), **changes})


@pytest.mark.parametrize("name", FORWARD)
@pytest.mark.parametrize(
    "offsets",
    [
        torch.tensor([0, 80, 70, T]),  # falls
        torch.tensor([0, -5, 70, T]),
        torch.tensor([1, 70, 70, T]),
        torch.tensor([-1, 70, 70, T]),
        torch.tensor([0, 70, 70, T - 1]),
        torch.tensor([0, 70, 70, T + 1]),
        torch.tensor([0, 70, 70, T], dtype=torch.int32),
        torch.tensor([[0, 70, 70, T]]),
        torch.tensor([], dtype=torch.int64),
        torch.tensor([0.0, 70.0, 70.0, T]),
    ],
)
def test_offsets_that_are_no_bounds(name, offsets):
    with pytest.raises(ValueError, match=r"offsets|state"):
        call(name, offsets=offsets)


@pytest.mark.parametrize("name", FORWARD)
def test_no_floats_but_single_precision_on_the_cpu(name):
    _, names, arguments = FORWARD[name]
    for argument, value in zip(names, arguments(), strict=True):
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            for wrong in (value.double(), value.bfloat16(), value.long()):
                with pytest.raises(ValueError, match=f"{argument} must be float32"):
                    call(name, **{argument: wrong})


@pytest.mark.parametrize(
    ("name", "argument", "wrong", "message"),
    [
        ("mamba2_scan", "x", rows(T, 2), "x has shape"),
        ("mamba2_scan", "x", rows(T, 2, 7), "state has shape"),
        ("mamba2_scan", "A", rows(2, 0), "dt|divide"),
        ("mamba2_scan", "A", rows(2), "A has shape"),
        ("mamba1_scan", "A", rows(2, 8, 4), "A has shape"),
        ("mamba1_scan", "state", rows(2, 2, 8, 3), "state has shape"),
        ("mamba1_scan", "B", rows(T, 2, 0), "A has shape"),
        ("conv_silu", "weight", rows(2, 5, 5), "state has shape"),
        ("conv_silu", "weight", rows(2, 5, 0), "state has shape|taps"),
        ("conv_silu", "weight", rows(2, 4, 3), "weight has shape"),
        ("conv_silu", "bias", rows(2, 4), "bias has shape"),
        ("mixer", "xz", rows(T, 23), "xz has 23 columns"),
        ("mixer", "xz", rows(T, 12), "xz has 12 columns, expected 24"),
        ("mixer", "xz", rows(T, 2, 12), "xz has shape"),
        ("mixer", "in_proj", rows(2, 6, 12), "in_proj"),
        ("mixer", "in_proj", rows(2, 6, 28), "in_proj"),
        ("mixer", "A", rows(2, 3), "A has shape"),
        ("mixer", "A", rows(2, 0), "A has shape"),
        ("mixer", "A", rows(2), "A has shape"),
        ("mixer", "conv_weight", rows(2, 16, 5), "taps"),
        ("mixer", "norm", rows(2, 9), "norm has shape"),
        ("mixer", "conv_state", rows(3, 2, 2, 16), "conv_state has shape"),
        ("mixer", "state", rows(3, 2, 10, 4), "state has shape"),
    ],
)
def test_what_does_not_fit_is_named(name, argument, wrong, message):
    with pytest.raises(ValueError, match=message):
        call(name, **{argument: wrong})


def test_several_that_fit_each_other_and_no_kernel():
    with pytest.raises(ValueError, match="3 decays of a head must divide its 8 channels"):
        call("mamba2_scan", A=rows(2, 3), dt=rows(T, 2, 3))
    with pytest.raises(ValueError, match="5 taps"):
        call("conv_silu", weight=rows(2, 5, 5), state=None)
    nothing = {"A": rows(2, 8, 0), "B": rows(T, 2, 0), "C": rows(T, 2, 0), "state": rows(3, 2, 8, 0)}
    with pytest.raises(ValueError, match="at least one"):
        call("mamba1_scan", **nothing)


@pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        (elementwise._rms_norm, (rows(3, 5), rows(4), 1e-5)),
        (elementwise._rms_norm, (rows(15), rows(15), 1e-5)),
        (elementwise._rms_norm_backward, (rows(2, 5), rows(3, 5), rows(5), 1e-5)),
        (elementwise._silu_mul_backward, (rows(3, 4), rows(3, 6))),
        (elementwise._dropout_add, (rows(2, 5), rows(3, 5), 0.5, 1)),
        (elementwise._dropout_add, (rows(3, 5).double(), rows(3, 5), 0.5, 1)),
        (elementwise._dropout_add, (None, rows(3, 5), 1.5, 1)),
    ],
)
def test_rows_that_do_not_fit(operator, arguments):
    with pytest.raises(ValueError, match=r"expected|float32"):
        operator(*arguments)


def odd(value, way, dim):
    """A tensor that is wrong, or right in an unusual place."""
    dim = dim % value.dim() if value.dim() else 0
    size = value.shape[dim] if value.dim() else 0
    changed = {
        "narrower": lambda: value.narrow(dim, 0, size - 1),
        "wider": lambda: torch.cat([value, value.narrow(dim, 0, 1)], dim),
        "empty": lambda: value.narrow(dim, 0, 0),
        "flat": lambda: value.flatten(),
        "deeper": lambda: value.unsqueeze(dim),
        "double": lambda: value.double(),
        "whole": lambda: value.long(),
        "transposed": lambda: value.transpose(dim, -1),
        "expanded": lambda: value.narrow(dim, 0, 1).expand_as(value),
        "apart": lambda: torch.stack([value, value], -1)[..., 0],
        "backwards": lambda: value.flip(dim),
        "huge": lambda: value * 1000,
    }
    return changed[way]() if size else value


WAYS = (
    *("narrower", "wider", "empty", "flat", "deeper", "double", "whole", "transposed"),
    *("expanded", "apart", "backwards", "huge"),
)
changes = st.lists(
    st.tuples(st.integers(0, 20), st.sampled_from(WAYS), st.integers(0, 3)), min_size=1, max_size=3
)  # fmt: skip


def fuzzed(operator, arguments, chosen):
    """Raises, or gives what the same numbers give laid out anew."""
    flat = [a for a in arguments for a in (a if isinstance(a, list) else [a])]
    places = [i for i, a in enumerate(flat) if isinstance(a, torch.Tensor) and a.dim()]
    for which, way, dim in chosen:
        i = places[which % len(places)]
        flat[i] = odd(flat[i], way, dim) if flat[i].dim() else flat[i]

    def again(transform):
        values = iter([transform(a) if isinstance(a, torch.Tensor) else a for a in flat])
        return [[next(values) for _ in a] if isinstance(a, list) else next(values) for a in arguments]

    try:
        results = operator(*again(lambda a: a))
    except (ValueError, RuntimeError):
        return
    anew = operator(*again(lambda a: a.clone(memory_format=torch.contiguous_format)))
    for one, other in zip(results, anew, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", FORWARD)
@given(chosen=changes)
@settings(max_examples=80)
def test_forward_never_crashes(name, chosen):
    operator, _, arguments = FORWARD[name]
    fuzzed(operator, arguments(), chosen)


@pytest.mark.parametrize("name", [name for name in BACKWARD if name != "silu_mul"])
@given(chosen=changes)
@settings(max_examples=50)
def test_backward_never_crashes(name, chosen):
    operator, arguments = BACKWARD[name]()
    fuzzed(operator, arguments, chosen)


@given(cuts=st.lists(st.integers(-2, T + 2), max_size=5), ordered=st.booleans(), first=st.sampled_from([0, 0, 0, 1]))
@settings(max_examples=60)
def test_any_offsets_are_bounds_or_an_error(cuts, ordered, first):
    bounds = [first, *(sorted(cuts) if ordered else cuts), T]
    offsets, U = torch.tensor(bounds), len(bounds) - 1
    for name, start in (("conv_silu", None), ("mamba1_scan", rows(U, 2, 8, 3)), ("mamba2_scan", rows(U, 2, 8, 3))):
        if first == 0 and bounds == sorted(bounds):
            assert call(name, offsets=offsets, state=start)[0].isfinite().all()
        else:
            with pytest.raises(ValueError, match="offsets"):
                call(name, offsets=offsets, state=start)


def test_gradient_of_other_shapes_than_the_outputs():
    operator, (dy, *rest) = BACKWARD["mamba2_scan"]()
    with pytest.raises(ValueError, match="dy has shape"):
        operator(dy[:-1], *rest)
    with pytest.raises(ValueError, match="bounds has shape"):
        operator(dy, *rest[:-1], rest[-1][:-1])


def test_no_memory_is_an_error():
    kernels = object.__new__(Kernels)
    kernels.isa, kernels._library = "plain", SimpleNamespace(scan_plain=lambda *_: 1)
    with pytest.raises(MemoryError, match="kernel scan"):
        kernels.call("scan", [1, 2], [torch.zeros(1), None], 3)


def test_an_output_is_as_large_as_offsets_say():
    y, final, bounds = call("mamba2_scan", offsets=offsets_of(SIZES))
    assert y.shape[0] == T
    assert final.shape[0] == len(SIZES)
    assert bounds.shape[0] == 3  # chunks of 64 events: two, none, one
    assert LOADED.isa
