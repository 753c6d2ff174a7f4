"""What is said where a library of an extra is not there."""

import sys

import pytest

from hydrarec.errors import InputError
from hydrarec.extras import require


def test_what_is_installed_is_imported():
    assert require("json.decoder", "any", "this needs") is sys.modules["json.decoder"]


def test_what_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    named = r"plots need matplotlib \(.+\); install it: pip install 'hydrarec\[report\]'"
    with pytest.raises(InputError, match=f"^{named}$"):
        require("matplotlib", "report", "plots need")
    with pytest.raises(InputError, match=f"^{named}, or draw by hand$"):
        require("matplotlib", "report", "plots need", instead="draw by hand")
