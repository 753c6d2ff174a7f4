"""What is said of an error of others."""

import pytest

from hydrarec.errors import InputError, first_line
from hydrarec.machine import usable_device


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("wrong"), "wrong"),
        (ValueError("\n wrong\r\nand much more"), "wrong"),
        (ValueError("  "), "ValueError"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_an_error_has_a_first_line_whatever_it_says(error, line):
    assert first_line(error) == line


def test_a_device_that_fails_without_a_word(monkeypatch):
    def empty(*_, **__):
        raise AssertionError

    monkeypatch.setattr("hydrarec.machine.torch.empty", empty)
    with pytest.raises(InputError, match=r"'cuda' cannot be used here \(AssertionError\); use cpu"):
        usable_device("cuda")
