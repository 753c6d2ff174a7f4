"""What other programs rely on: one object on standard output, with fixed keys."""

import pyarrow.parquet as pq
import pytest
from events import DAY, FIRST, ITEMS, TINY_SET, USERS, event_table, history

import hydrarec
from hydrarec import prepare
from hydrarec.data.simulation.people import SimulationConfig
from hydrarec.data.simulation.shop import ShopConfig
from hydrarec.data.simulation.simulate import simulate
from hydrarec.ops.library import kernels_or_reason
from hydrarec.retrieve.approximate import index_bytes
from hydrarec.serve.catalog.indexing import WORTH

METRICS = {"HR@10", "NDCG@10", "MRR", "coverage@10", "popularity@10"}


def test_prepare(ask, place, tmp_path):
    found = ask("prepare", place / "events.csv", "--out", tmp_path / "d", "--protocol", "loo")
    assert set(found) >= {"dataset", "users", "items", "events", "protocol", "fingerprint", "seconds"}
    assert found["dataset"] == str(tmp_path / "d")
    assert (found["users"], found["items"], found["events"]) == (USERS, ITEMS, len(event_table()))
    assert found["protocol"] == "loo"
    assert found["fingerprint"] == prepare(event_table()).fingerprint
    assert 0 < found["seconds"] < 60
    assert found["targets"] == {"valid": USERS, "test": USERS}


@pytest.mark.parametrize("source", ["events.csv", "dataset"])
def test_train(ask, place, tmp_path, source):
    found = ask("train", place / source, "--out", tmp_path / "run", "--seed", 4, *TINY_SET)
    keys = {"run", "protocol", "metrics", "parameters", "seconds", "peak_memory_bytes", "epochs"}
    assert set(found) >= keys
    assert (found["run"], found["protocol"], found["epochs"], found["seed"]) == (str(tmp_path / "run"), "time", 1, 4)
    assert set(found["metrics"]) >= METRICS
    assert set(found["parameters"]) == {"items", "encoder"}
    assert found["parameters"]["items"] == ITEMS * 8
    assert found["peak_memory_bytes"] > 2**20
    again = ask("train", place / source, "--out", tmp_path / "run", "--seed", 4, *TINY_SET)
    assert again == found  # a finished run is not trained again


def test_train_by_recipe(ask, place, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[model]\nname = "popularity"\nhalf_life_days = 3\n[protocol]\nsplit = "loo"\ncutoffs = [3]\n')
    found = ask("train", place / "events.csv", "--out", tmp_path / "run", "--recipe", recipe)
    assert found["protocol"] == "loo"
    assert {"HR@3", "NDCG@3", "MRR"} <= set(found["metrics"])
    assert ask("info", tmp_path / "run")["settings"]["model"] == {"name": "popularity", "half_life_days": 3.0}
    assert ask("evaluate", tmp_path / "run")["metrics"] == found["metrics"]
    other = ask("train", place / "events.csv", "--out", tmp_path / "b", "--recipe", recipe, "--protocol", "hstu")
    assert other["protocol"] == "hstu"


def test_evaluate(ask, place):
    for part in ("test", "valid"):
        found = ask("evaluate", place / "hydra", "--split", part)
        assert set(found) >= {"run", "protocol", "split", "users", "metrics", "fingerprint", "seed"}
        assert (found["run"], found["protocol"], found["split"]) == (str(place / "hydra"), "time", part)
        assert found["users"] == USERS
        assert set(found["metrics"]) >= METRICS
    assert ask("evaluate", place / "hstu")["protocol"] == "hstu"


def test_recommend(ask, place):
    user = ask("recommend", place / "markov", "--user", 3)["recommendations"]
    assert len(user) == 10
    assert all(set(row) == {"item", "score"} for row in user)
    assert user[0]["item"] == history(3)[-1] % ITEMS + 1
    assert [row["score"] for row in user] == sorted((row["score"] for row in user), reverse=True)
    given = ",".join(map(str, history(3)))
    assert ask("recommend", place / "markov", "--history", given)["recommendations"] == user
    assert ask("recommend", place / "markov", "--history", " 1, 2 ,3,", "-k", 1)["recommendations"][0]["item"] == 4
    assert ask("recommend", place / "markov", "--history", '1, "2" ,"3"', "-k", 1)["recommendations"][0]["item"] == 4
    few = ask("recommend", place / "hydra", "--history", "1,2,3", "-k", 50, "--exclude-seen")["recommendations"]
    assert sorted(row["item"] for row in few) == list(range(4, ITEMS + 1))


def test_an_id_with_a_comma(call, place):
    done = call("recommend", place / "markov", "--history", '"no, such",1', "--strict")
    assert done.code == 2
    assert "no, such" in done.err


@pytest.mark.parametrize(
    "at", [FIRST + 5 * DAY, 1000 * (FIRST + 5 * DAY), "2020-09-18T12:26:40", "2020-09-18T14:26:40+02:00"]
)
def test_recommend_at(ask, place, at):
    found = ask("recommend", place / "markov", "--user", 3, "--at", at, "-k", 1)
    assert found["recommendations"][0]["item"] == history(3)[5]


def test_a_model_that_reads_time(ask, call, place, tmp_path):
    run = tmp_path / "timed"
    trained = ask("train", place / "events.csv", "--out", run, *TINY_SET, "--set", "model.time=true")
    assert trained["sees_request_time"]
    when = ",".join(str(FIRST + day * DAY + 2) for day in range(len(history(3))))
    given = ("recommend", run, "--history", ",".join(map(str, history(3))), "--times", when)
    soon, late = (ask(*given, "--at", FIRST + days * DAY)["recommendations"] for days in (12, 400))
    assert soon != late
    assert ask("recommend", run, "--user", 3, "--at", FIRST + 400 * DAY)["recommendations"] == late
    done = call("recommend", run, "--history", "1,2")
    assert done.code == 2
    assert "give the times of the events and of the request" in done.err


def test_recommend_all(ask, place, tmp_path):
    found = ask("recommend", place / "markov", "--all", "--out", tmp_path / "all.parquet", "-k", 2)
    assert (found["out"], found["rows"]) == (str(tmp_path / "all.parquet"), 2 * USERS)
    table = pq.read_table(tmp_path / "all.parquet")
    assert table.column_names == ["user", "rank", "item", "score"]
    assert table["user"].to_pylist() == [user for user in range(1, USERS + 1) for _ in range(2)]
    first = ask("recommend", place / "markov", "--user", 1, "-k", 2)["recommendations"]
    assert table.select(["item", "score"]).to_pylist()[:2] == first


def test_warnings_stay_off_standard_output(call, place):
    done = call("recommend", place / "markov", "--history", "99,3", "-k", "1", "--json")
    assert done.out.startswith('{"recommendations": [{"item": 4, ')
    assert done.err == "warning: unknown item ids skipped: 99\n"
    done = call("evaluate", place / "hstu", "--json")
    assert done.err == ""


def test_info(ask, place):
    data = ask("info", place / "dataset")
    assert (data["users"], data["events"], data["protocol"]["split"]) == (USERS, len(event_table()), "time")
    run = ask("info", place / "hydra")
    assert (run["run"], run["finished"]) == (str(place / "hydra"), True)
    assert run["settings"]["model"]["name"] == "hydra"
    assert run["dataset"]["fingerprint"] == data["fingerprint"]


def test_doctor(ask):
    found = ask("doctor")
    assert found["hydrarec"] == hydrarec.__version__
    assert set(found["libraries"]) >= {"torch", "duckdb", "pyarrow"}
    assert found["scan"]["in use"] in found["scan"]["back ends"]
    kernels = found["kernels"]
    assert kernels["used"] == (found["scan"]["in use"] == "kernel")
    assert (kernels["why not"] is None) == (kernels["remedy"] is None) == kernels["used"]
    assert "times as long" in kernels["without them"]
    assert set(found["gpu"]) == {"name", "triton"}


@pytest.mark.parametrize("kernel", ["0", "1"])
def test_doctor_in_words(call, monkeypatch, kernel):
    monkeypatch.setenv("HYDRAREC_KERNEL", kernel)
    kernels_or_reason.cache_clear()
    try:
        done = call("doctor")
        assert ("why not: HYDRAREC_KERNEL=0 hides them" in " ".join(done.out.split())) == (kernel == "0")
    finally:
        kernels_or_reason.cache_clear()


def test_demo(ask, call, refused, tmp_path, monkeypatch):
    small = SimulationConfig(n_users=60, events=12, shop=ShopConfig(n_items=80, categories=2, series_length=15))
    monkeypatch.setattr("hydrarec.demo.simulate", lambda seed: simulate(small, seed))
    monkeypatch.setattr("hydrarec.demo._HYDRA", TINY_SET[1::2])
    found = ask("demo", "--out", tmp_path / "demo")
    assert set(found) == {"run", "table", "oracle", "seconds"}
    assert set(found["table"]) == {"popularity", "markov", "itemknn", "hydra"}
    for metrics in (*found["table"].values(), found["oracle"]):
        assert set(metrics) == {"HR@10", "NDCG@10"}
    assert ask("recommend", found["run"], "--user", 7)["recommendations"]

    done = call("demo", "--out", tmp_path / "demo")  # replaces the earlier one
    assert done.code == 0
    assert "seed 1, data " in done.out
    assert len([line for line in done.out.splitlines() if line.startswith("user ")]) == 5
    commands = [line.split() for line in done.out.splitlines() if line.startswith("  hydrarec")]
    for command in commands[:-1]:  # the last one speaks of the reader's own events
        assert call(*command[1:]).code == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    assert "no earlier demo" in refused("demo", "--out", tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_simulate(ask, tmp_path):
    found = ask("simulate", "--events", "1e3", "--users", 50, "--items", 200, "--out", tmp_path / "e.parquet")
    assert (found["out"], found["events"], found["users"]) == (str(tmp_path / "e.parquet"), 1000, 50)
    assert found["items"] <= 200
    assert found["bytes"] == (tmp_path / "e.parquet").stat().st_size
    made = ask("prepare", tmp_path / "e.parquet", "--out", tmp_path / "d")
    assert {name: made[name] for name in ("events", "users", "items")} == {
        name: found[name] for name in ("events", "users", "items")
    }


def test_plan(ask):
    found = ask("plan", "--items", "1e9", "--dim", 128, "--gpus", 8, "--no-rates")
    assert set(found["parts"]) == {"weights_bytes", "optimizer_bytes", "id_map_bytes", "index_bytes"}
    assert found["parts"]["weights_bytes"] < 10**9
    assert (found["items"], found["encoder"], found["storage"]) == (10**9, "quotient_remainder", "hashed")
    found = ask("plan", "--items", "1e9", "--dim", 128, "--gpus", 16, "--no-rates")
    assert found["parts"]["weights_bytes"] == 512 * 10**9
    assert (found["encoder"], found["storage"], found["fits"]) == ("float32", "sharded", True)
    assert 32.2e9 < found["per_gpu_bytes"] < 32.3e9
    assert "seconds_per_billion_events" not in found
    assert (found["index"], found["parts"]["index_bytes"]) == ("ivf", index_bytes(10**9, 128))
    few = ask("plan", "--items", WORTH - 1, "--dim", 16, "--encoder", "table", "--no-rates")
    assert (few["index"], few["parts"]["index_bytes"]) == ("exact", 4 * 16 * (WORTH - 1))
    assert ask("plan", "--items", 10**9, "--encoder", "int8", "--no-rates")["encoder"] == "int8"
