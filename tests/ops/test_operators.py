"""The kernels as operators of torch: schemas, fake versions, gradients, and what a compiler may do with them."""

import pytest
import test_kernel_conv
import test_kernel_scan
import test_mixer
import torch
from kernel_cases import needs_kernels
from support import offsets_of
from torch.library import opcheck

from hydrarec.ops import elementwise, kernel_conv, kernel_scan
from hydrarec.ops.mixer import mixer, mixer_backward

pytestmark = needs_kernels
SIZES = [70, 0, 3]
ALL = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")


def scan_arguments(mamba, keep):
    x, dt, A, B, C, state = test_kernel_scan.problem(mamba, 2, 2, 4, 3, SIZES).values()
    return x, dt, A, B, C, offsets_of(SIZES), state, keep


def conv_arguments(begun=True):
    x, weight, bias, state = test_kernel_conv.problem(3, SIZES).values()
    return x, weight, bias, offsets_of(SIZES), state if begun else None


def mixer_arguments(keep, begun=True):
    xz, *weights, conv_state, state = test_mixer.problem(SIZES).values()
    return xz, *weights, offsets_of(SIZES), *((conv_state, state) if begun else (None, None)), 0.5, keep


def rows(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


CALLS = {
    "mamba1_scan": (kernel_scan.kernel_scan, lambda: scan_arguments(1, True)),
    "mamba2_scan": (kernel_scan.kernel_scan, lambda: scan_arguments(2, True)),
    "conv_silu": (kernel_conv.kernel_conv, conv_arguments),
    "conv_silu from nothing": (kernel_conv.kernel_conv, lambda: conv_arguments(False)),
    "mixer": (mixer, lambda: mixer_arguments(True)),
    "mixer from nothing": (mixer, lambda: mixer_arguments(True, begun=False)),
    "rms_norm": (elementwise._rms_norm, lambda: (rows(5, 7), rows(7), 1e-5)),
    "silu_mul": (elementwise._silu_mul, lambda: (rows(5, 14),)),
    "dropout_add": (elementwise._dropout_add, lambda: (rows(5, 7), rows(5, 7), 0.3, 12345)),
    "dropout": (elementwise._dropout_add, lambda: (None, rows(5, 7), 0.3, 12345)),
}


def learnable(arguments):
    return tuple(a.requires_grad_() if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in arguments)


@pytest.mark.parametrize("name", CALLS)
def test_operator_with_gradients(name):
    operator, arguments = CALLS[name]
    opcheck(operator, learnable(arguments()), test_utils=ALL)


@pytest.mark.parametrize("name", CALLS)
def test_operator_without_gradients(name):
    operator, arguments = CALLS[name]
    opcheck(operator, arguments(), test_utils=ALL)


@pytest.mark.parametrize("arguments", [scan_arguments(1, False), scan_arguments(2, False)])
def test_scan_that_keeps_nothing(arguments):
    opcheck(kernel_scan.kernel_scan, arguments, test_utils=ALL)


def test_mixer_that_keeps_nothing():
    opcheck(mixer, mixer_arguments(False), test_utils=ALL)


def scan_backward_call(mamba):
    *inputs, state, keep = scan_arguments(mamba, True)
    y, final, bounds = kernel_scan.kernel_scan(*inputs, state, keep)
    return kernel_scan.kernel_scan_backward, (y, final, *inputs, bounds)


def conv_backward_call(begun):
    arguments = conv_arguments(begun)
    return kernel_conv.kernel_conv_backward, (*kernel_conv.kernel_conv(*arguments), *arguments)


def mixer_backward_call(begun):
    arguments = mixer_arguments(True, begun=begun)
    *results, bounds = mixer(*arguments)
    return mixer_backward, (*results, arguments[0], list(arguments[1:9]), *arguments[9:12], bounds, arguments[12])


BACKWARD = {
    "mamba1_scan": lambda: scan_backward_call(1),
    "mamba2_scan": lambda: scan_backward_call(2),
    "conv_silu": lambda: conv_backward_call(True),
    "conv_silu from nothing": lambda: conv_backward_call(False),
    "mixer": lambda: mixer_backward_call(True),
    "mixer from nothing": lambda: mixer_backward_call(False),
    "rms_norm": lambda: (elementwise._rms_norm_backward, (rows(5, 7), rows(5, 7), rows(7), 1e-5)),
    "silu_mul": lambda: (elementwise._silu_mul_backward, (rows(5, 7), rows(5, 14))),
}


@pytest.mark.parametrize("name", BACKWARD)
def test_backward_operators(name):
    operator, arguments = BACKWARD[name]()
    opcheck(operator, arguments, test_utils=("test_schema", "test_faketensor", "test_aot_dispatch_dynamic"))
