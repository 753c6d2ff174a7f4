"""Compiles the kernels of ``csrc`` into one library: a plain C interface, no headers of PyTorch or Python.

Runs on its own (``python build.py``), when the package is installed: it must import nothing but the standard library.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent / "csrc"
LIBRARY = Path(__file__).parent / "_kernels.so"  # whatever the system's own suffix: it is loaded by this path
_FLAGS = ("-O3", "-std=gnu++17", "-fPIC", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math")
_FUSED = "-ffp-contract=fast"  # multiply and add in one instruction; GCC does so by itself


def instruction_sets() -> dict[str, tuple[str, ...]]:
    """Flags of each instruction set that one library carries on this kind of processor; ``plain`` runs on all."""
    if platform.machine().lower() in ("x86_64", "amd64"):
        return {"avx512": ("-march=x86-64-v4",), "avx2": ("-march=x86-64-v3",), "plain": ()}
    return {"plain": ()}  # aarch64 has NEON by itself


def compiler() -> str | None:
    """A C++ compiler: what ``CXX`` names, or the first that is found."""
    named = os.environ.get("CXX")
    return named if named is not None else next(filter(shutil.which, ("c++", "g++", "clang++")), None)


def build(library: Path = LIBRARY, extra: tuple[str, ...] = ()) -> Path:
    """Compile ``library``; it appears whole or not at all.

    Args:
        extra: further flags for compiler and linker, such as ``-fsanitize=address``.

    Raises:
        OSError: there is no compiler.
        RuntimeError: it failed; the message has what it printed.
    """
    program = compiler()
    if not program:
        raise FileNotFoundError("no C++ compiler (c++, g++, clang++) was found")
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=".kernels-") as folder:
        jobs = {"parallel": (SOURCES / "parallel.cpp", ())}
        for isa, flags in instruction_sets().items():
            jobs[isa] = (SOURCES / "kernels.cpp", (*flags, f"-DHYDRAREC_ISA={isa}"))
        objects = [str(Path(folder) / f"{name}.o") for name in jobs]
        _run(
            [program, *_FLAGS, _FUSED, *extra, *flags, "-c", str(source), "-o", target]
            for (source, flags), target in zip(jobs.values(), objects, strict=True)
        )
        built = Path(folder) / "library"
        _run([[program, "-shared", *extra, *objects, "-pthread", "-o", str(built)]])
        built.replace(library)
    return library


def _run(commands) -> None:  # type: ignore[no-untyped-def]
    """Run all at once, wait for all."""
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for command in commands
    ]
    outputs = [process.communicate()[0] for process in running]
    for process, output in zip(running, outputs, strict=True):
        if process.returncode:
            raise RuntimeError(f"{' '.join(map(str, process.args))} failed:\n{output}")


if __name__ == "__main__":
    print(build(extra=tuple(sys.argv[1:])))
