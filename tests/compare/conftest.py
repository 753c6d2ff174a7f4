from types import SimpleNamespace

import pytest
from events import event_table, write_csv

from hydrarec.compare.plan import Part, Places, Plan
from hydrarec.compare.spec import read_spec
from hydrarec.progress import Silent


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with ``events.csv``: what is written here is thrown away."""
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "events.csv", event_table())
    return tmp_path


@pytest.fixture
def plan_of(here):
    """A plan of a comparison given as text."""

    def make(text, **part):
        (here / "spec.toml").write_text(text)
        places = Places(results=here / "results", runs=here / "runs")
        return Plan(spec=read_spec(here / "spec.toml"), places=places, part=Part(**part))

    return make


@pytest.fixture
def silent():
    said = []
    return SimpleNamespace(progress=Silent(), log=said.append, said=said)
