"""The tests of the kernels once more, on a build with address and undefined-behaviour sanitizers.

Loads and stores under a mask, with which AVX-512 treats tails, are not looked at; the other sets treat the same tails
in plain C.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_cases import needs_kernels

from hydrarec.ops.compile import build, compiler, instruction_sets
from hydrarec.ops.library import required_kernels

HERE = Path(__file__).parent
TESTS = (
    "kernel_arguments",
    "kernel_scan",
    "kernel_conv",
    "mixer",
    "kernel_stretches",
    "elementwise",
    "feed_forward",
    "projection",
    "softmax_kernel",
)
# Not the same on many more shapes, or twice, or called in other ways; of the long histories one case for each kernel.
SLOW = ("any_shape", "are_the_references", "alone", "same_bits", "operator", "histories_in_stretches and not sizes1")
CHOSEN = " and ".join(f"not ({words})" for words in SLOW)
# -O0: a quarter of the time to compile, and nothing is optimised away before it is looked at.
FLAGS = ("-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")


def found(*names: str) -> str | None:
    """The first of the compiler's own libraries that is there."""
    for name in names:
        asked = subprocess.run([*compiler(), f"-print-file-name={name}"], capture_output=True, text=True, check=False)
        if Path(asked.stdout.strip()).is_absolute():
            return asked.stdout.strip()
    return None


def run(library: Path, preload: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "HYDRAREC_LIBRARY": str(library),
        "LD_PRELOAD": preload,
        "ASAN_OPTIONS": "detect_leaks=0",  # those of Python itself
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    """The build, and what must be loaded before anything allocates or throws."""
    before = (found("libasan.so", "libclang_rt.asan-x86_64.so"), found("libstdc++.so.6")) if compiler() else ()
    if not before or None in before:
        pytest.skip("no C++ compiler with an address sanitizer")
    sets = {isa: flags for isa, flags in instruction_sets().items() if isa in required_kernels().isas}
    with pytest.MonkeyPatch.context() as patched:  # what this processor cannot run is not looked at
        patched.setattr("hydrarec.ops.compile.instruction_sets", lambda: sets)
        return build(tmp_path_factory.mktemp("sanitized") / "kernels.so", FLAGS), ":".join(before)


@needs_kernels
def test_kernels_are_clean(sanitized):
    files = [str(HERE / f"test_{name}.py") for name in TESTS]
    # Not captured: the sanitizer ends the process.
    options = ("-o", "addopts=", "-s", "-x", "-p", "no:cacheprovider", "-k", CHOSEN)
    done = run(*sanitized, "-m", "pytest", *options, *files)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-10_000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


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
