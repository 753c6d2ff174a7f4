"""Compiles the kernels of ``csrc`` into one library: a plain C interface, no headers of PyTorch or Python.

Imports nothing but the standard library: it also runs by its path, before anything is installed.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

SOURCES = Path(__file__).parent / "csrc"
LIBRARY = Path(__file__).parent / "_kernels.so"  # whatever the system's own suffix: it is loaded by this path
_FLAGS = ("-O3", "-std=gnu++17", "-fPIC", "-pthread", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math")
_FUSED = "-ffp-contract=fast"  # multiply and add in one instruction; GCC does so by itself
_COMPILERS = ("c++", "g++", "clang++")


def instruction_sets() -> dict[str, tuple[str, ...]]:
    """Flags of each instruction set that one library carries on this kind of processor, widest first.

    ``plain`` runs on all.
    """
    if platform.machine().lower() in ("x86_64", "amd64"):
        return {"avx512": ("-march=x86-64-v4",), "avx2": ("-march=x86-64-v3",), "plain": ()}
    return {"plain": ()}  # aarch64 has NEON by itself


def compiler() -> list[str]:
    """The words that start a C++ compiler: those of ``CXX`` (such as ``ccache g++``), or the first that is found.

    Empty where there is none.
    """
    words = os.environ["CXX"].split() if "CXX" in os.environ else [*filter(shutil.which, _COMPILERS)][:1]
    return words if words and shutil.which(words[0]) else []


def is_current(library: Path = LIBRARY) -> bool:
    """Whether a library is there and was built from these very sources."""
    return library.exists() and _stamp().encode() in library.read_bytes()


def _stamp() -> str:
    """What a library carries to say which sources, and which flags, it was built from."""
    digest = hashlib.sha256()
    for path in (Path(__file__), *sorted(path for path in SOURCES.iterdir() if path.suffix in (".cpp", ".h"))):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"hydrarec-sources-{digest.hexdigest()[:16]}"


def build(library: Path = LIBRARY, extra: tuple[str, ...] = ()) -> Path:
    """Compile ``library``; it appears whole or not at all.

    Args:
        extra: further flags for compiler and linker, such as ``-fsanitize=address``.

    Raises:
        OSError: there is no compiler, or the folder cannot be written.
        RuntimeError: it failed; the message has what it printed.
    """
    start = compiler()
    if not start:
        wanted = f"CXX={os.environ['CXX']}" if "CXX" in os.environ else ", ".join(_COMPILERS)
        raise FileNotFoundError(f"no C++ compiler was found ({wanted})")
    # The stamp is taken before the sources are compiled: if they change meanwhile, the library is not current.
    jobs: dict[str, tuple[str, ...]] = {
        "stamp": ("stamp.cpp", f'-DHYDRAREC_STAMP="{_stamp()}"'),
        "parallel": ("parallel.cpp",),
        **{isa: ("kernels.cpp", f"-DHYDRAREC_ISA={isa}", *flags) for isa, flags in instruction_sets().items()},
    }
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=".kernels-") as folder:
        objects = {name: str(Path(folder) / f"{name}.o") for name in jobs}
        _run(
            [*start, *_FLAGS, _FUSED, *extra, *flags, "-c", str(SOURCES / source), "-o", objects[name]]
            for name, (source, *flags) in jobs.items()
        )
        built = Path(folder) / "library"
        _run([[*start, "-shared", *extra, *objects.values(), "-pthread", "-o", str(built)]])
        built.replace(library)
    return library


def _run(commands: Iterable[list[str]]) -> None:
    """Run all at once, wait for all; warnings are passed on."""
    commands = list(commands)
    pipe = subprocess.PIPE
    running = [subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True) for command in commands]
    outputs = [process.communicate()[0] for process in running]
    for command, process, output in zip(commands, running, outputs, strict=True):
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{output}")
        sys.stderr.write(output)


def try_to_build() -> str | None:
    """Build ``LIBRARY`` unless it is current, for those who can do without.

    Returns:
        None if it is there now, else why not, in one line.
    """
    if is_current():
        return None
    try:
        build()
    except (OSError, RuntimeError) as error:
        lines = str(error).splitlines()
        why = next((line for line in lines if "error:" in line), lines[0])
        return f"hydrarec: the kernels are not compiled, plain PyTorch does their work, more slowly: {why}"
    return None


if __name__ == "__main__" and (why := try_to_build()) is not None:
    print(why, file=sys.stderr)
