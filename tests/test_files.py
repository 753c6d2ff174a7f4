import json
import random
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest

from hydrarec import files
from hydrarec.errors import HydrarecError, InputError
from hydrarec.files import read_json, whole_file, whole_folder, write_json


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def interrupt(writing, name=None):
    """Fail in the middle of writing."""
    with writing as temporary:
        (temporary / name if name else temporary).write_text("half")
        raise RuntimeError


def test_a_file_is_the_old_one_or_the_new_one(tmp_path):
    path = tmp_path / "deep" / "value.json"
    write_json(path, {"ä": 1})
    with pytest.raises(RuntimeError):
        interrupt(whole_file(path))
    assert json.loads(path.read_text(encoding="utf-8")) == {"ä": 1}
    assert names(path.parent) == ["value.json"]


@pytest.mark.parametrize("writing", [whole_file, whole_folder])
def test_a_file_in_place_of_a_folder_is_named(tmp_path, writing):
    (tmp_path / "file").write_text("1")
    with pytest.raises(InputError, match=r"file/deep/e cannot be made: .* is a file; choose another"):
        interrupt(writing(tmp_path / "file" / "deep" / "e"))
    assert (tmp_path / "file").read_text() == "1"


def test_a_folder_is_the_old_one_or_the_new_one(tmp_path):
    path = tmp_path / "set"
    with whole_folder(path) as temporary:
        (temporary / "a").write_text("1")
        assert not path.exists()
    with pytest.raises(RuntimeError):
        interrupt(whole_folder(path, overwrite=True), "b")
    assert names(path) == ["a"]
    with pytest.raises(InputError, match="exists already"), whole_folder(path):
        pass
    with whole_folder(path, overwrite=True) as temporary:
        (temporary / "b").write_text("2")
    assert names(path) == ["b"]
    assert names(tmp_path) == ["set"]


def test_a_link_stays_and_what_it_names_is_replaced(tmp_path):
    (tmp_path / "there" / "set").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "there" / "set")
    with pytest.raises(InputError, match="exists already"), whole_folder(tmp_path / "link"):
        pass
    with whole_folder(tmp_path / "link", overwrite=True) as temporary:
        (temporary / "a").write_text("1")
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "there") == ["set"]
    assert names(tmp_path / "there" / "set") == ["a"]
    assert names(tmp_path) == ["link", "there"]


@pytest.mark.parametrize("content", [None, b"{", b"\xff\xfe"])
def test_a_damaged_file_is_named_with_the_remedy(content, tmp_path):
    path = tmp_path / "value.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"value\.json .*; make it again"):
        read_json(path, remedy="make it again")


OVERWRITES = """
import itertools, pathlib, sys
from hydrarec.files import whole_folder
for number in itertools.count():
    with whole_folder(pathlib.Path(sys.argv[1]), overwrite=True) as folder:
        for name in "abc":
            (folder / name).write_text(str(number))
    print(number, flush=True)
"""


def test_killed_at_any_moment_of_overwriting_a_folder_is_there_and_whole(tmp_path):
    path = tmp_path / "set"
    draw = random.Random(0)
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", OVERWRITES, path], stdout=-1, text=True) as other:
            assert other.stdout is not None
            for _ in range(3):
                other.stdout.readline()
            time.sleep(0.02 * draw.random())
            other.kill()
        assert names(path) == ["a", "b", "c"]
        assert len({(path / name).read_text() for name in "abc"}) == 1
    with whole_folder(path, overwrite=True):
        pass
    # One that is killed before its lock has a name leaves an empty folder.
    left = [names(folder) for folder in tmp_path.iterdir() if folder != path]
    assert all(set(each) <= {".owner.new"} for each in left)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path, monkeypatch, at_once):
    path = tmp_path / "set"
    with whole_folder(path) as folder:
        (folder / "a").touch()
    if at_once:
        monkeypatch.setattr(files, "_exchange", Mock(side_effect=OSError(5, "Input/output error")))
    else:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
        rename = Path.rename
        monkeypatch.setattr(
            Path, "rename", lambda self, to: rename(self, to if self.name != "set" or to != path else tmp_path / "a/b")
        )
    with pytest.raises(HydrarecError, match="nothing was changed"), whole_folder(path, overwrite=True) as folder:
        (folder / "b").touch()
    assert names(path) == ["a"]
    assert names(tmp_path) == ["set"]


def test_where_names_cannot_change_places_at_once_they_do_so_in_two_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    for name in "ab":
        with whole_folder(tmp_path / "set", overwrite=True) as folder:
            (folder / name).touch()
    assert names(tmp_path / "set") == ["b"]
    assert names(tmp_path) == ["set"]


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    path = tmp_path / "s[e]t"
    program = f"""
import pathlib, sys
from hydrarec.files import whole_folder
with whole_folder(pathlib.Path({str(path)!r})) as folder:
    (folder / "half").write_text("half")
    print(folder, flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        half = Path(other.stdout.readline().strip()) / "half"
        (tmp_path / ".s[e]t.mine").mkdir()  # not ours: no owner
        with whole_folder(path) as mine:
            (mine / "a").touch()
            assert half.exists()
        other.kill()
    assert half.exists()
    with whole_folder(path, overwrite=True) as mine:
        (mine / "b").touch()
    assert not half.parent.parent.exists()
    assert names(tmp_path) == [".s[e]t.mine", "s[e]t"]
    assert names(path) == ["b"]
