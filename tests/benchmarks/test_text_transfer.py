"""Bar 3: which runs there are, what is chosen, and one of them from end to end."""

import json
from argparse import Namespace
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import shops
import transfer
from targets import Targets

from hydrarec.compare.values import pack, unpack
from hydrarec.data.store import Dataset
from hydrarec.errors import HydrarecError, InputError
from hydrarec.train.start import hash_of_weights


@pytest.fixture
def given(tmp_path):
    return Namespace(results=tmp_path / "results", runs=tmp_path / "runs", jobs=1, show=True, json=True)


def write(job, **found):
    job.file.parent.mkdir(parents=True, exist_ok=True)
    about = {"overrides": job.overrides, "recipe_hash": transfer.recipe_hash(), "start": None}
    job.file.write_text(json.dumps({**about, **found}))


def test_trials_are_those_of_arms_that_learn(given, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    jobs = transfer.trials(given, "toys", {1: str(tmp_path)})
    assert len(jobs) == len({job.file for job in jobs}) == len({job.folder for job in jobs}) == 3 * 5 * 2
    assert {job.arm for job in jobs} == {"scratch", "scratch-id", "head", "adapter", "full"}
    assert {job.seed for job in jobs} == {1}
    for job in jobs:
        assert (job.start is None) == (job.arm in transfer.SCRATCH)
        assert ("items.kind=table" in job.overrides) == (job.arm == "scratch-id")
        assert f"train.lr={job.rate:g}" in job.overrides
        assert f"train.epochs={transfer.EPOCHS[job.share]}" in job.overrides


def test_finals_take_the_rate_that_validation_chose_and_the_trained_folder(given, tmp_path):
    assert {job.arm for job in transfer.finals(given, "toys", {})} == {"zero-shot"}  # nothing to choose
    for job in transfer.trials(given, "toys", {}):
        if job.share < 10:  # some trials are missing
            better = job.rate == (4e-3 if job.arm == "full" else 1e-3)
            write(job, validation={"NDCG@10": 0.2 if better else 0.1})
    for seed in transfer.SEEDS:
        (tmp_path / f"{seed}").mkdir()
        (tmp_path / f"{seed}" / "model.safetensors").write_bytes(bytes([seed]))
    for job in transfer.trials(given, "toys", {1: str(tmp_path / "1")}):
        if job.start and job.file.exists():
            write(job, **json.loads(job.file.read_text()) | {"start": hash_of_weights(tmp_path / "1")})
    finals = transfer.finals(given, "toys", {seed: str(tmp_path / f"{seed}") for seed in transfer.SEEDS})
    assert len(finals) == 3 * (2 * 6 + 1)
    for job in finals:
        assert job.rate == {"full": 4e-3, "zero-shot": 0.0}.get(job.arm, 1e-3)
        assert job.start == (None if job.arm in transfer.SCRATCH else str(tmp_path / f"{job.seed}"))
        assert job.test
    folders = {job.folder for job in transfer.trials(given, "toys", {1: str(tmp_path / "1")})}
    assert all((job.folder in folders) == (job.seed == 1 and job.arm != "zero-shot") for job in finals)


def test_results_of_other_settings_are_refused(given, monkeypatch):
    job = transfer.trials(given, "toys", {})[0]
    assert job.result() is None
    write(job, validation={"NDCG@10": 0.2})
    assert job.result()["validation"] == {"NDCG@10": 0.2}
    monkeypatch.setattr(transfer, "SET", ("train.batch_events=512",))
    with pytest.raises(InputError, match="made with other settings; delete it to run again"):
        job.result()


def test_results_of_another_recipe_or_another_start_are_refused(given, tmp_path):
    start = tmp_path / "start"
    start.mkdir()
    (start / "model.safetensors").write_bytes(b"weights")
    job = next(job for job in transfer.trials(given, "toys", {1: str(start)}) if job.arm == "head")
    write(job, start=hash_of_weights(start))
    assert job.result()
    assert replace(job, start=None).result()  # whose start is gone
    write(job, start="0" * 16)
    with pytest.raises(InputError, match="other settings"):
        job.result()
    write(job, start=hash_of_weights(start), recipe_hash="0" * 16)
    with pytest.raises(InputError, match="other settings"):
        job.result()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.safetensors").write_bytes(b"others")
    assert replace(job, start=str(tmp_path / "other")).folder != job.folder


def test_runs_that_are_all_there_need_no_start(given):
    assert not transfer.complete(given, "toys")
    for job in transfer.trials(given, "toys", {}):
        write(job, validation={"NDCG@10": 0.2})
    assert not transfer.complete(given, "toys")
    for job in transfer.finals(given, "toys", {}):
        write(job, validation={"NDCG@10": 0.2})
    assert transfer.complete(given, "toys")


def test_one_that_fails_stops_no_other(sources, given):
    good, bad = (job for job in transfer.trials(given, "toys", {}) if (job.arm, job.share) == ("scratch-id", 10))
    bad.folder.parent.mkdir(parents=True)
    bad.folder.write_text("no folder")
    with pytest.raises(HydrarecError, match=r"toys scratch-id-10-1: .* is not a run folder") as error:
        transfer.perform(given, [bad, good])
    assert str(error.value).count("scratch-id-10-1: ") == 1
    assert good.result()


def made_record(values, validation):
    values = np.array(values, float)
    return {
        "table": "t",
        "model": "m",
        "tested": "f",
        "ndcg10": pack(values, "f4"),
        "validation": {"NDCG@10": validation},
        "cost": {"flops": 1.0},
    }


TARGETS = Targets(
    users=pa.array([f"u{i}" for i in range(40)]),
    items=pa.array(["i"] * 40),
    domains=np.full(40, "toys"),
    events=np.full(40, 5),
    fingerprint="f",
)


def test_the_mode_is_chosen_on_validation_and_not_on_what_is_compared():
    low, high = np.full(40, 0.1), np.full(40, 0.3)
    records = {arm: [made_record(low, 0.1)] for arm in (*transfer.SCRATCH, *transfer.MODES)}
    records["scratch"] = [made_record(low, 0.2), made_record(low + 0.1, 0.2)]  # two seeds: .15
    records["head"] = [made_record(high - 0.05, 0.4)]
    records["full"] = [made_record(high, 0.3)]  # better, but not on validation
    row = transfer.row_of(records, TARGETS)
    assert (row["chosen"], row["against"]) == ("head", "scratch")
    assert row["change"] == pytest.approx(0.25 / 0.15 - 1)
    assert row["p"] < 0.001
    assert row["seeds"]["scratch"] == 2
    del records["head"]
    assert "p" not in transfer.row_of(records, TARGETS)


def test_when_it_is_reached():
    row = {"chosen": "full", "against": "scratch", "full": 0.2, "scratch": 0.1, "share": 1, "p": 0.01}
    row["seeds"] = {"full": 3, "scratch": 3}
    assert transfer.reached([{**row, "seeds": {"full": 3, "scratch": 2}}]) is None
    assert transfer.reached([row, {**row, "share": 10, "p": 0.4}]) is True
    assert transfer.reached([row, {**row, "share": 5, "p": 0.4}]) is False
    assert transfer.reached([row, {**row, "share": 10, "full": 0.05}]) is False
    assert transfer.reached([row, {"share": 10, "full": 0.2}]) is None
    assert transfer.reached([]) is None


def test_a_run_from_scratch_learns_from_its_users_and_is_asked_by_others(sources, given, monkeypatch):
    monkeypatch.setattr(transfer, "SET", (*transfer.SET, "model.d_model=8", "model.n_heads=2", "model.d_state=4"))
    monkeypatch.setattr(transfer, "EPOCHS", dict.fromkeys(transfer.SHARES, 2))
    job = next(j for j in transfer.trials(given, "toys", {}) if (j.arm, j.share) == ("scratch-id", 10))
    said = transfer.do(job)
    trial = job.result()
    assert said == f"validation NDCG@10 {trial['validation']['NDCG@10']:.4f}"
    assert not {"metrics", "ndcg10", "tested"} & set(trial)
    write(transfer.trials(given, "toys", {})[0], validation={"NDCG@10": 0})  # any other arm
    final = transfer._job(given, "toys", {}, "scratch-id", 10, 1, job.rate, True)
    transfer.do(final)
    found = final.result()
    assert found["run"] == trial["run"]  # not trained again
    rest = Dataset.open(shops.made("rest-toys"))
    assert found["tested"] == rest.fingerprint != found["fingerprint"]
    assert len(unpack(found["ndcg10"], "f4", "x")) == found["queries"] == found["users"]
    keys = {"protocol_fields", "fingerprint", "seed", "parameters", "seconds", "machine", "cost", "commit", "share"}
    assert keys <= set(found)
    rows = transfer.rows_of([final], transfer.asked("rest-toys"))
    assert rows[0]["scratch-id"] == pytest.approx(found["metrics"]["NDCG@10"])


def test_screens_are_80_columns(capsys):
    row = dict.fromkeys((*transfer.SCRATCH, *transfer.MODES), 0.0123)
    row |= {"shop": "clothing", "share": 10, "chosen": "full", "against": "scratch", "change": 1.5, "p": 0.0001}
    transfer.show([row, {"shop": "toys", "share": 1, "full": 0.1}], None)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "clothing 10%" in shown
    assert ".0123*" in shown
    assert "…" not in shown
