"""Wheels made with a compiler and without one, unpacked and run: both work, and say what they have."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from events import TINY_SET, event_table, write_csv

from hydrarec.ops.compile import compiler

ROOT = Path(__file__).parents[1]
LIBRARY = "hydrarec/ops/_kernels.so"


def environment(**more):
    """Without what would hide the kernels, or choose a compiler."""
    hidden = ("HYDRAREC_", "CXX", "PYTHONPATH", "PYTHONWARNINGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return {**kept, "OMP_NUM_THREADS": "1", "COLUMNS": "80", **more}


def run(*words, env, **options):
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, env=env, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def wheel_of(source: Path, out: Path, **more) -> tuple[Path, str]:
    """The wheel that pip makes, and all that was printed meanwhile."""
    out.mkdir()
    build = ("-m", "pip", "wheel", "-v", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", out, source)
    done = run(sys.executable, *build, env=environment(**more))
    (wheel,) = out.glob("*.whl")
    return wheel, done.stdout + done.stderr


@pytest.fixture
def source(tmp_path):
    """The files that a release has: no library, whatever was built here."""
    folder = tmp_path / "source"
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("*.so", "__pycache__", ".kernels-*"))
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def no_compiler(tmp_path):
    """Variables of a machine on which no program is found."""
    (tmp_path / "bin").mkdir()
    return {"PATH": str(tmp_path / "bin")}


@pytest.fixture
def quick(tmp_path):
    """A compiler that does not optimise: here nothing depends on speed."""
    if not compiler():
        pytest.skip("there is no C++ compiler here")
    path = tmp_path / "quick-compiler"
    path.write_text(f'#!/bin/sh\nexec {" ".join(compiler())} "$@" -O0\n')
    path.chmod(0o755)
    return {"CXX": str(path)}


@pytest.fixture
def pretended(tmp_path):
    """A compiler that makes an empty file of whatever it is asked for: here nobody loads it."""
    path = tmp_path / "pretended-compiler"
    path.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\n: > "$2"\n')
    path.chmod(0o755)
    return {"CXX": str(path)}


class Unpacked:
    """A wheel unpacked; its commands run in a folder with ``events.csv``."""

    def __init__(self, wheel: Path, place: Path, **more) -> None:
        self.site, self.folder, self.more = place / "site", place / "work", more
        with zipfile.ZipFile(wheel) as file:
            file.extractall(self.site)
        self.folder.mkdir()
        write_csv(self.folder / "events.csv", event_table())

    def __call__(self, *words, **more):
        """The object that a command prints, and what it says of kernels meanwhile."""
        code = "import sys, hydrarec.cli as cli; print(cli.__file__, file=sys.stderr); sys.exit(cli.main())"
        variables = environment(PYTHONPATH=str(self.site), **self.more, **more)
        done = run(sys.executable, "-c", code, *words, "--json", env=variables, cwd=self.folder)
        first, *lines = done.stderr.splitlines()
        assert Path(first).is_relative_to(self.site)
        return json.loads(done.stdout), [line for line in lines if "kernels" in line]


TRAIN = ("train", "events.csv", "--out", "run", *TINY_SET)
RECOMMEND = ("recommend", "run", "--user", 7)


def test_without_a_compiler(source, no_compiler, tmp_path):
    (source / "src" / LIBRARY).write_bytes(b"of other sources")  # is there, but must not be taken along
    wheel, printed = wheel_of(source, tmp_path / "wheels", **no_compiler)
    (line,) = [line for line in printed.splitlines() if "no C++ compiler was found" in line]
    assert "the kernels are not compiled, plain PyTorch does their work" in line
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert LIBRARY not in names
    assert {"hydrarec/ops/csrc/kernels.cpp", "hydrarec/ops/csrc/simd.h"} <= set(names)  # to compile later

    call = Unpacked(wheel, tmp_path, **no_compiler)
    (line,) = call(*TRAIN)[1]
    assert line.startswith("warning: the compiled kernels are not used: they were not built. Plain PyTorch does")
    assert "Install a C++ compiler" in line
    found, lines = call("doctor")
    assert lines == []
    assert {name: found["kernels"][name] for name in ("used", "built", "why not", "compiler")} == {
        "used": False,
        "built": False,
        "why not": "they were not built",
        "compiler": None,
    }
    assert call(*RECOMMEND, HYDRAREC_KERNEL="0")[1] == []  # on purpose: there is nothing to tell


def test_with_a_compiler(source, quick, tmp_path):
    wheel, printed = wheel_of(source, tmp_path / "wheels", **quick)
    assert "not compiled" not in printed
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")
    file = zipfile.ZipFile(wheel)
    assert "Root-Is-Purelib: false" in file.read(next(n for n in file.namelist() if n.endswith("/WHEEL"))).decode()

    call = Unpacked(wheel, tmp_path)
    assert call(*TRAIN)[1] == []
    facts = call("doctor")[0]["kernels"]
    assert (facts["used"], facts["built"], facts["why not"]) == (True, True, None)
    assert facts["instruction set"] == facts["available"][0]
    with (call.site / "hydrarec/ops/csrc/simd.h").open("a") as sources:
        sources.write("// changed\n")
    (line,) = call(*RECOMMEND)[1]
    assert "they were built from other sources than these" in line


def test_an_editable_installation_compiles_in_place(source, pretended, tmp_path):
    code = "import hatchling.build, sys; print(hatchling.build.build_editable(sys.argv[1]))"
    run(sys.executable, "-c", code, tmp_path, env=environment(**pretended), cwd=source)
    assert (source / "src" / LIBRARY).exists()
    (wheel,) = tmp_path.glob("*.whl")
    assert LIBRARY not in zipfile.ZipFile(wheel).namelist()


def test_a_source_release_has_sources_and_no_library(source, tmp_path):
    (source / "src" / LIBRARY).write_bytes(b"built here")
    code = "import hatchling.build, sys; print(hatchling.build.build_sdist(sys.argv[1]))"
    run(sys.executable, "-c", code, tmp_path, env=environment(), cwd=source)
    (release,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(release) as file:
        names = {name.split("/", 1)[1] for name in file.getnames()}
    assert {"hatch_build.py", "src/hydrarec/ops/compile.py", "src/hydrarec/ops/csrc/stamp.cpp"} <= names
    assert f"src/{LIBRARY}" not in names
