"""The kernels, built with address and undefined-behaviour sanitizers, over odd shapes.

Loads and stores under a mask, with which AVX-512 treats tails, are not looked at; the other sets treat the same tails
in plain C.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_cases import ISAS, needs_kernels

from hydrarec.ops.compile import build, compiler

# -O0: a quarter of the time to compile, and nothing is optimised away before it is looked at.
FLAGS = ("-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")


def runtime() -> str | None:
    """The address sanitizer's library, which must be loaded before Python's own allocations."""
    for name in ("libasan.so", "libclang_rt.asan-x86_64.so", "libclang_rt.asan-aarch64.so"):
        asked = subprocess.run([*compiler(), f"-print-file-name={name}"], capture_output=True, text=True, check=False)
        if Path(asked.stdout.strip()).is_absolute():
            return asked.stdout.strip()
    return None


def run(library: Path, asan: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "HYDRAREC_LIBRARY": str(library),
        "LD_PRELOAD": asan,
        "ASAN_OPTIONS": "detect_leaks=0",  # those of Python itself
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    asan = runtime() if compiler() else None
    if asan is None:
        pytest.skip("no C++ compiler with an address sanitizer")
    return build(tmp_path_factory.mktemp("sanitized") / "kernels.so", FLAGS), asan


@needs_kernels
def test_kernels_are_clean(sanitized):
    done = run(*sanitized, str(Path(__file__).with_name("sanitized.py")))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("clean:") == len(ISAS) + 1


@needs_kernels
def test_the_sanitizer_would_see_a_kernel_read_beyond_a_tensor(sanitized):
    """The kernel is told of more rows than there are, behind the back of all checks."""
    code = (
        "import torch; from hydrarec.ops.library import required_kernels; x = torch.zeros(3, 32)\n"
        "required_kernels().call('silu_mul_forward', [99, 16, 32], [x], [torch.zeros(99, 16)], 1)"
    )
    done = run(*sanitized, "-c", code)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
