"""Several processes and one folder."""

import subprocess
import sys
from unittest.mock import Mock

import pytest

from hydrarec.errors import HydrarecError, InputError
from hydrarec.files import read_json, write_json
from hydrarec.sharing import alone_in, at_rest, unfinished


def test_what_is_replaced_while_it_is_read_is_read_again(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for path in (one, two):
        write_json(path, 0)
    began = []

    def read():
        found = [read_json(one, remedy="")]
        began.append(found)
        if len(began) < 3:  # another process writes both
            for path in (one, two):
                write_json(path, len(began))
        if len(began) == 1:
            raise HydrarecError("torn")
        return [*found, read_json(two, remedy="")]

    assert at_rest([one, two, tmp_path / "none"], read) == [2, 2]
    with pytest.raises(HydrarecError, match="it is wrong"):
        at_rest([one], Mock(side_effect=HydrarecError("it is wrong")))


def test_one_process_at_a_time(tmp_path):
    program = f"""
import pathlib, sys
from hydrarec.sharing import alone_in
with alone_in(pathlib.Path({str(tmp_path)!r})):
    print("inside", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "inside\n"
        with pytest.raises(InputError, match="another process is at work"), alone_in(tmp_path):
            pass
        other.kill()
    with alone_in(tmp_path):
        pass


def work(path, key, error=None):
    """What was there before, and one file more."""
    with unfinished(path, key) as folder:
        there = sorted(each.name for each in folder.iterdir())
        (folder / f"file-{len(there)}").touch()
        if error is not None:
            raise error
    return [name for name in there if name.startswith("file")]


def test_unfinished_work_is_kept_for_who_does_the_same(tmp_path):
    place = tmp_path / "set"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            work(place, ["a", 1], KeyboardInterrupt())
    assert len(work(place, ["a", 1])) == 2
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt):
        work(place, ["a", 1], KeyboardInterrupt())
    assert work(place, ["a", 2]) == []  # that was other work
    with pytest.raises(KeyboardInterrupt):
        work(place, ["a", 1], KeyboardInterrupt())
    with pytest.raises(HydrarecError):
        work(place, ["a", 1], HydrarecError("no"))
    assert list(tmp_path.iterdir()) == []
