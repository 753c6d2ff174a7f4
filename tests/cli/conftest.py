import json
from types import SimpleNamespace

import pytest
from events import TINY_SET, event_table, write_csv

from hydrarec.cli import main


@pytest.fixture
def call(capsys):
    """Run a command in this process: (exit code, standard output, standard error)."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    return run


@pytest.fixture
def ask(call):
    """Run a command with ``--json`` that must succeed: its object, which is all of standard output."""

    def run(*arguments):
        done = call(*arguments, "--json")
        assert done.code == 0, done.err
        assert done.out.count("\n") == 1
        return json.loads(done.out)

    return run


@pytest.fixture
def refused(call):
    """Run a command with bad input: its one message, the last line of standard error."""

    def run(*arguments):
        done = call(*arguments)
        assert (done.code, done.out) == (2, ""), done.err
        message = done.err.splitlines()[-1]
        assert message.startswith("hydrarec: ")
        assert done.err.count("hydrarec: ") == 1
        assert "Traceback" not in done.err
        return message.removeprefix("hydrarec: ")

    return run


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder with ``events.csv``, the data set ``dataset``, and the runs ``hydra``, ``markov`` and ``hstu``."""
    place = tmp_path_factory.mktemp("cli")
    source = write_csv(place / "events.csv", event_table())
    assert main(["prepare", str(source), "--out", str(place / "dataset")]) == 0
    assert main(["train", str(place / "dataset"), "--out", str(place / "hydra"), *TINY_SET]) == 0
    for name, more in (("markov", []), ("hstu", ["--protocol", "hstu"])):
        assert main(["train", str(source), "--out", str(place / name), "--model", "markov", *more]) == 0
    return place
