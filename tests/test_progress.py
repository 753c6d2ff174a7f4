import io
import re

import pytest
from rich.console import Console

from hydrarec import progress
from hydrarec.progress import Bars, Lines, Silent, reporter, say, table


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 100 columns in place of standard error."""
    screen = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr(progress, "console", lambda: screen)
    return screen.file


def test_reporter_chooses_the_face(terminal):
    assert isinstance(reporter(json=True), Silent)
    assert isinstance(reporter(), Bars)


def test_no_terminal_gives_lines():
    assert isinstance(reporter(), Lines)  # pytest has captured standard error


def test_messages_go_to_standard_error_as_they_are(capsys):
    say("[bold] 3 items " + "x" * 100)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "[bold] 3 items " + "x" * 100 + "\n"


def test_silent(capsys):
    with Silent().task("train", total=3) as task:
        task.advance(3, "loss 1")
    assert capsys.readouterr() == ("", "")


def test_lines_come_now_and_then(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with Lines(seconds=5).task("train", total=10_000, done=1000) as task:
        for _ in range(9):
            clock[0] += 1
            task.advance(1000, "loss 5.31" if clock[0] < 3 else None)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "train: 60% of 10,000 events, 1,000 events/s, 0:00:04 left, loss 5.31",
        "train: 10,000 events in 9.0 s, loss 5.31",
    ]


@pytest.mark.parametrize(("rate", "left"), [(1000, "0:01:00"), (16, "1:02:30"), (1, "16:40:00"), (0.1, "166:40:00")])
def test_hours_are_counted_beyond_a_day(capsys, monkeypatch, rate, left):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with Lines(seconds=5).task("train", total=70_000, done=0) as task:
        clock[0] = 10_000 / rate
        task.advance(10_000)
    assert f", {left} left" in capsys.readouterr().err


def test_lines_without_total_and_after_a_failure(capsys):
    with Lines(seconds=0).task("read", unit="rows") as task:
        task.advance(2000)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("read: 2,000 rows, ")
    assert re.match(r"read: 2,000 rows in \d+\.\d s", last)
    with pytest.raises(ValueError, match="x"), Lines().task("read"):
        raise ValueError("x")
    assert capsys.readouterr().err == ""


def test_bars_show_everything_and_nest(terminal):
    bars = Bars()
    with bars.task("train", total=200) as task:
        task.advance(100, "loss [5.31]")
        task.advance(50)
        with bars.task("evaluate", total=7, unit="users") as inner:
            inner.advance(7)
            bars.bars.refresh()
        task.advance(50)
    shown = terminal.getvalue()
    assert "evaluate" in shown
    last = [line for line in shown.splitlines() if "train" in line][-1]
    for part in ("100%", "events/s", "loss [5.31]"):
        assert part in last
    assert "evaluate" not in shown[shown.rindex("train") :]  # the nested one has gone
    with bars.task("again", total=1):  # the same reporter serves one task after another
        pass
    with pytest.raises(ValueError, match="x"), bars.task("fails"):
        raise ValueError("x")
    assert not bars.bars.live.is_started


def test_a_table_fits_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    rows = [["hydra", 0.30123, 1234567, "t" * 120], ["popularity", None, 3, "[short]"]]
    table("Results", ["model", "HR@10", "users", "title"], rows)
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 80
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "0.3012" in lines["hydra"]
    assert "1,234,567" in lines["hydra"]
    assert "ttt…" in lines["hydra"]
    assert "[short]" in lines["popularity"]
    assert lines["hydra"].index("1,234,567") + 8 == lines["popularity"].index("3")  # to the right
