"""Compiling the kernels: which compiler, what is current, what happens when it fails or happens twice at once."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hydrarec.ops import compile as compiling

# Stands for a compiler: an object holds the words it was called with, a library what its objects hold.
FAKE = """#!{python}
import pathlib, sys, time
words = sys.argv[1:]
output = pathlib.Path(words[words.index("-o") + 1])
if "-shared" in words:
    parts = [pathlib.Path(word).read_text() for word in words if word.endswith(".o")]
    with output.open("w") as file:
        for part in [*parts, "the end"]:
            print(part, file=file, flush=True)
            time.sleep(0.02)
else:
    output.write_text(" ".join(words))
"""
needs_compiler = pytest.mark.skipif(not compiling.compiler(), reason="there is no C++ compiler here")


def program(folder: Path, text: str, name: str = "compiler") -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def fake(tmp_path, monkeypatch):
    path = program(tmp_path, FAKE.format(python=sys.executable))
    monkeypatch.setenv("CXX", str(path))
    return path


@pytest.fixture
def empty_path(tmp_path, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_the_compiler_is_the_first_that_is_there(empty_path):
    assert compiling.compiler() == []
    program(empty_path, "", "clang++")
    assert compiling.compiler() == ["clang++"]
    program(empty_path, "", "c++")
    assert compiling.compiler() == ["c++"]


def test_cxx_may_have_several_words(fake, monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", f"{fake} --through=cache")
    assert compiling.compiler() == [str(fake), "--through=cache"]
    library = compiling.build(tmp_path / "library", ("-g",))
    for line in library.read_text().splitlines()[:-1]:
        assert line.startswith("--through=cache ")
        assert " -g " in line


@pytest.mark.parametrize("named", ["", "nobody++ -O2"])
def test_cxx_that_is_not_there_is_named(named, monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", named)
    assert compiling.compiler() == []
    with pytest.raises(FileNotFoundError, match="no C\\+\\+ compiler was found") as caught:
        compiling.build(tmp_path / "library")
    assert f"(CXX={named})" in str(caught.value)


def test_without_a_compiler_one_line_says_so(empty_path, tmp_path, monkeypatch):
    monkeypatch.setattr(compiling, "is_current", lambda: False)
    why = compiling.try_to_build()
    assert why.count("\n") == 0
    assert "no C++ compiler was found (c++, g++, clang++)" in why


def test_a_failure_leaves_the_library_and_nothing_else(tmp_path, monkeypatch):
    failing = program(tmp_path, "#!/bin/sh\necho 'in file x.h'\necho 'x.h:3: error: no such register'\nexit 1\n")
    monkeypatch.setenv("CXX", f"{failing} -Werror")
    folder = tmp_path / "folder"
    folder.mkdir()
    library = folder / "library"
    library.write_text("before")
    with pytest.raises(RuntimeError, match="no such register"):
        compiling.build(library)
    assert library.read_text() == "before"
    assert list(folder.iterdir()) == [library]
    monkeypatch.setattr(compiling, "is_current", lambda: False)
    assert compiling.try_to_build().endswith("more slowly: x.h:3: error: no such register")


def test_a_library_is_current_until_a_source_changes(fake, tmp_path, monkeypatch):
    sources = tmp_path / "csrc"
    shutil.copytree(compiling.SOURCES, sources)
    monkeypatch.setattr(compiling, "SOURCES", sources)
    library = tmp_path / "library"
    assert not compiling.is_current(library)
    compiling.build(library)
    assert compiling.is_current(library)
    (sources / "simd.h.swp").write_text("an editor's")
    assert compiling.is_current(library)
    with (sources / "simd.h").open("a") as file:
        file.write("// a remark\n")
    assert not compiling.is_current(library)
    compiling.build(library)
    (sources / "simd.h").rename(sources / "wide.h")
    assert not compiling.is_current(library)


def test_a_source_that_changes_meanwhile_is_noticed(tmp_path, monkeypatch):
    sources = tmp_path / "csrc"
    shutil.copytree(compiling.SOURCES, sources)
    monkeypatch.setattr(compiling, "SOURCES", sources)
    changing = FAKE.format(python=sys.executable) + f"open({str(sources / 'simd.h')!r}, 'a').write('//')\n"
    monkeypatch.setenv("CXX", str(program(tmp_path, changing)))
    assert not compiling.is_current(compiling.build(tmp_path / "library"))


def test_many_at_once_do_not_clash(fake, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    library = folder / "library"
    code = "import pathlib, runpy, sys; runpy.run_path(sys.argv[1])['build'](pathlib.Path(sys.argv[2]))"
    command = [sys.executable, "-c", code, compiling.__file__, str(library)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    while any(process.poll() is None for process in running):  # whole whenever it is there
        assert not library.exists() or library.read_text().endswith("the end\n")
    for process in running:
        assert process.wait() == 0, process.stderr.read()
        process.stderr.close()
    assert list(folder.iterdir()) == [library]
    assert compiling.is_current(library)


@needs_compiler
def test_the_library_has_every_instruction_set(tmp_path):
    built = compiling.LIBRARY if compiling.is_current() else compiling.build(tmp_path / "library.so", ("-O0",))
    library = ctypes.CDLL(str(built))
    for isa in compiling.instruction_sets():
        assert hasattr(library, f"mamba1_scan_forward_{isa}")
        assert hasattr(library, f"mixer_backward_{isa}")
    library.hydrarec_isa.restype = ctypes.c_char_p
    assert library.hydrarec_isa().decode() in compiling.instruction_sets()


@pytest.mark.parametrize("name", ["g++", "clang++", "aarch64-linux-gnu-g++"])
def test_no_warnings(name):
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name} here")
    # A member that an initializer leaves out is zero, which is meant.
    usual = ("-std=gnu++17", "-fsyntax-only", "-Wall", "-Wextra", "-Wno-missing-field-initializers")
    sets = {"plain": ()} if "-" in name else compiling.instruction_sets()
    for isa, flags in sets.items():
        command = [name, *usual, *flags, f"-DHYDRAREC_ISA={isa}"]
        done = subprocess.run(
            [*command, str(compiling.SOURCES / "kernels.cpp"), str(compiling.SOURCES / "parallel.cpp")],
            capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
