"""Every kernel compiles to machine code for NVIDIA's GPUs, without one; and nothing needs Triton to be there."""

import os
import subprocess
import sys

import pytest
from gpu_cases import needs_triton

COMPILE = """
import re, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from hydrarec.ops.gpu.kernels import conv, elementwise, mamba1, norm

SIZES = {"K": 4, "STEPS": 8, "BT": 16, "BF": 64, "BE": 4, "BH": 16, "BN": 16, "Q": 16, "GATED": True, "BLOCK": 1024}
WHOLE = {"offsets", "users", "positions", "first", "stop"}  # int64
NUMBERS = re.compile("T|U|G|F|E|N|H|half|size|(x|y|z|g|o|B|C|dt_)[tg]")


def kind(name, elements):
    if name in SIZES:
        return "constexpr"
    if name in ("eps", "scale"):
        return "fp32"
    return "i32" if NUMBERS.fullmatch(name) else "*i64" if name in WHOLE else "*" + elements


done = 0
for module in (conv, elementwise, mamba1, norm):
    elements = "fp32" if module is mamba1 else "bf16"
    for name, kernel in vars(module).items():
        if isinstance(kernel, triton.runtime.JITFunction) and not name.startswith("_"):
            signature = {name: kind(name, elements) for name in kernel.arg_names}
            constants = {name: SIZES[name] for name in signature if name in SIZES}
            source = ASTSource(kernel, signature=signature, constexprs=constants)
            code = triton.compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32)).asm
            assert code["cubin"], name
            done += 1
print(done)
"""

BARE = """
import sys
sys.modules["triton"] = None  # importing it fails
import torch
import hydrarec.nn.encoder
from hydrarec.ops import gpu
from hydrarec.ops.gpu import conv, interact, mamba1, norm, scan, swiglu
T, G, E, N = 5, 2, 4, 3
one = torch.ones(T, G, E)
for A in (-torch.ones(G, 2), -torch.ones(G, E, N)):
    dt = one[..., :2] if A.dim() == 2 else one
    y, _ = scan.scan_gpu(one, dt, A, one[..., :N], one[..., :N], torch.tensor([0, T]), torch.zeros(1, G, E, N))
    assert y.isfinite().all()
assert not gpu.usable(one)
"""


def python(code: str, *arguments: str, **environment: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=inherited | environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@needs_triton
@pytest.mark.parametrize("capability", [90])
def test_kernels_compile(capability, tmp_path):
    assert python(COMPILE, str(capability), TRITON_CACHE_DIR=str(tmp_path), HOME=str(tmp_path)) == "15"


def test_triton_is_not_needed():
    python(BARE)
