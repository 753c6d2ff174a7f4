"""Why compiled kernels are not used, and how that is told: once, with the cost and the remedy."""

import warnings

import pytest
import torch

from hydrarec.ops import compile as compiling
from hydrarec.ops import library, status
from hydrarec.ops.reference import scan_reference
from hydrarec.ops.scan import selective_scan


@pytest.fixture
def fresh(monkeypatch):
    """As in a new process; sets variables of the environment, None unsets one."""

    def forget():
        library.kernels_or_reason.cache_clear()
        status.warn_of_absence.cache_clear()

    def start(**variables):
        forget()
        for name in ("HYDRAREC_KERNEL", "HYDRAREC_LIBRARY", "HYDRAREC_ISA"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))

    yield start
    monkeypatch.undo()
    forget()


def scan():
    x, dt, A = torch.ones(3, 1, 2), torch.ones(3, 1, 1), -torch.ones(1, 1)
    return selective_scan(x, dt, A, torch.ones(3, 1, 2), torch.ones(3, 1, 2), torch.tensor([0, 3]))


def warned(monkeypatch):
    """Warnings about kernels that two scans give; the back ends were chosen when the module was imported."""
    if library.kernels() is None:
        monkeypatch.setattr("hydrarec.ops.scan.backends", {"reference": scan_reference})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scan()
        scan()
    return [str(warning.message) for warning in caught if "kernels" in str(warning.message)]


@pytest.fixture
def unusable(tmp_path):
    """Files that are not the kernels of these sources, by the reason that is given."""
    (tmp_path / "other").write_bytes(b"hydrarec-sources-0123456789abcdef")
    (tmp_path / "broken").write_text(compiling._stamp())
    return {
        "they were not built": tmp_path / "nothing",
        "they were built from other sources than these": tmp_path / "other",
        "they cannot be loaded": tmp_path / "broken",
    }


@pytest.mark.parametrize(
    "reason", ["they were not built", "they were built from other sources than these", "they cannot be loaded"]
)
def test_what_is_not_there_or_not_ours_is_not_used(reason, unusable, fresh):
    fresh(HYDRAREC_LIBRARY=unusable[reason])
    assert library.kernels() is None
    assert library.kernels_or_reason().startswith(reason)
    with pytest.raises(RuntimeError, match=f"needed, but {reason}"):
        library.required_kernels()
    facts = status.kernel_facts()
    assert not facts["used"]
    assert facts["built"] == (reason == "they cannot be loaded")
    assert facts["why not"].startswith(reason)
    assert "python -m hydrarec.ops.build" in facts["remedy"]


def test_one_warning_says_why_at_what_cost_and_what_to_do(unusable, fresh, monkeypatch):
    fresh(HYDRAREC_LIBRARY=unusable["they were not built"], CXX="nobody++")
    (message,) = warned(monkeypatch)
    assert message.startswith("the compiled kernels are not used: they were not built. Plain PyTorch does their work")
    assert f"about {status.FALLBACK_COST} times as long" in message
    assert message.endswith("Install a C++ compiler (GCC or Clang), then run `python -m hydrarec.ops.build`")
    assert "\n" not in message


def test_hidden_on_purpose_is_not_warned_of(fresh, monkeypatch):
    fresh(HYDRAREC_KERNEL=0)
    assert library.kernels() is None
    assert warned(monkeypatch) == []
    facts = status.kernel_facts()
    assert (facts["used"], facts["why not"]) == (False, "HYDRAREC_KERNEL=0 hides them")
    assert facts["remedy"] == "Unset HYDRAREC_KERNEL"


@pytest.mark.skipif(library.kernels() is None, reason="the compiled kernels are not there")
def test_where_they_are_there(fresh, monkeypatch):
    fresh()
    facts = status.kernel_facts()
    assert (facts["used"], facts["built"], facts["why not"], facts["remedy"]) == (True, True, None, None)
    assert facts["instruction set"] == facts["available"][0]
    assert facts["available"][-1] == "plain"
    assert warned(monkeypatch) == []
    fresh(HYDRAREC_ISA="plain")
    assert library.required_kernels().isa == "plain"
    fresh(HYDRAREC_ISA="mmx")
    assert library.kernels() is None
    assert "HYDRAREC_ISA=mmx is not among" in library.kernels_or_reason()
