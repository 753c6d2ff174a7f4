"""The examples of README.md run as they stand, on a small table of events."""

import re
import shlex
from pathlib import Path

import pytest
from events import event_table

from hydrarec.cli import main

README = Path(__file__).parent.parent / "README.md"
# Blocks that need a clone, downloads or minutes.
ELSEWHERE = re.compile(r"\b(make|git|demo)\b|\.\./shared|\bbenchmarks/")
QUICK = ("--set", "train.epochs=1", "--set", "model.d_model=8", "--set", "model.n_heads=2")


def blocks(language: str) -> list[str]:
    text = README.read_text(encoding="utf-8") if README.exists() else ""
    found = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [block for block in found if not ELSEWHERE.search(block)]


def commands() -> list[list[str]]:
    """The words of each ``hydrarec`` line, lines that end in a backslash joined, comments left out."""
    lines = "\n".join(blocks("console")).replace("\\\n", " ").splitlines()
    words = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [command[1:] for command in words if command[:1] == ["hydrarec"]]


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A folder with ``events.csv``: users from 1, items 1 to 50."""
    table = event_table(users=50, items=50).to_pandas()
    table.to_csv(tmp_path / "events.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands(shop, capsys):
    assert commands()
    for command in commands():
        quick = QUICK if command[0] == "train" and "--model" not in command and "--recipe" not in command else ()
        assert main([*command, *quick]) == 0, (command, capsys.readouterr().err)
        out, err = capsys.readouterr()
        assert out, command
        assert "warning: unknown" not in err, command


@pytest.mark.parametrize("block", blocks("python"))
def test_python(block, shop, capsys):
    exec(compile(block, str(README), "exec"), {"__name__": "readme"})
    assert "UserWarning" not in capsys.readouterr().err
