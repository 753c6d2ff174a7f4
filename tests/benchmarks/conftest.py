"""The programs of benchmarks/text can be imported, and have data to work with."""

import os
import sys

import pytest
from small_shops import ROOT, write_shops

sys.path.append(str(ROOT / "benchmarks" / "text"))
os.environ["HF_HUB_OFFLINE"] = "1"  # as the programs do


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A folder to work in, beside which the four shops lie."""
    write_shops(tmp_path / "shared" / "datasets")
    work = tmp_path / "work"
    work.mkdir()
    (work / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(work)
    return work
