"""What goes wrong among processes that train together: nobody waits for ever, and the last good checkpoint stays."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jobs import close, environment, several, train, weights
from killing import reached
from safetensors import safe_open
from safetensors.torch import save
from support import cyclic

SAVING = ["train.epochs=3", "train.checkpoint_seconds=0"]
SHARDED = [*SAVING, "items.storage=sharded", "loss.kind=sampled", "loss.negatives=5"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broken")
    cyclic(users=40, length=14, n_items=10).save(folder / "data")
    cyclic(users=40, length=13, n_items=10).save(folder / "other")
    shutil.copytree(folder / "data", folder / "cut")
    with (folder / "cut" / "items.npy").open("r+b") as file:
        file.truncate(400)
    (folder / "events.csv").write_text("user,item,time\n1,1,1\n")
    return folder


# What each of two processes is given beside the arguments of the first, and what the one that fails says.
BAD = {
    "settings": ([[], ["--seed", "2"]], [{}, {}], "has another settings than the first", [2, 2]),
    "data": (["data", "other"], [{}, {}], "has another data set than the first", [2, 2]),
    "no data": (["data", "nowhere"], [{}, {}], "and give every host the data set", [1, 2]),
    "cut": (["data", "cut"], [{}, {}], "items.npy", [1, 2]),
    "code": ([[], []], [{}, {"OTHER_CODE": "abc"}], "has code", [2, 2]),
    "world": ([[], []], [{}, {"WORLD_SIZE": "3"}], "has processes", [2, 2]),
    "nobody comes": ([[], None], [{"HYDRAREC_TIMEOUT": "2"}, {}], "process 1 of 2 did not come", [1]),
    "events": (["events.csv", "events.csv"], [{}, {}], "hydrarec prepare", [2, 2]),
    "mapped": ([["--set", "items.storage=mapped", "--set", "loss.kind=sampled"]] * 2, [{}, {}], "mapped", [2, 2]),
    "counts": ([["--model", "popularity"]] * 2, [{}, {}], "counted by one process", [2, 2]),
    "continue": ([["--continue", "run"]] * 2, [{}, {}], "leave the others out", [2, 2]),
    "procs": ([["--procs", "3"]] * 2, [{}, {}], "torchrun has started 2", [2, 2]),
}


APART = ("code", "world", "continue", "procs")  # found before the processes are together: each says it


def bad_jobs(folder):
    jobs = []
    for changes, environments, _, codes in BAD.values():
        arguments = []
        for change in changes[: len(codes)]:
            data, words = (change, []) if isinstance(change, str) else ("data", change)
            given = [*train(folder / data, folder / "bad"), *words]
            if "popularity" in words:
                given = ["train", str(folder / data), "--out", str(folder / "bad"), *words]
            arguments.append(given)
        first = {"WORLD_SIZE": "2", **environments[0]}
        jobs.append({"arguments": arguments, "environments": [first, environments[1]][: len(codes)]})
    return jobs


@pytest.fixture(scope="module")
def killed(folder):
    """What comes of a training whose second process was killed, of one alone, of their copies, and of ``BAD``."""
    arguments = train(folder / "data", folder / "killed", SHARDED)
    kill = {"process": 1, "out": str(folder / "killed"), "step": 5}
    every = {"process": None, "out": str(folder / "all"), "step": 9}
    found = several(
        [
            {"arguments": [arguments] * 2, "kill": kill},
            {"arguments": [train(folder / "data", folder / "all", SHARDED)] * 2, "kill": every},
            {"arguments": [train(folder / "data", folder / "alone", SHARDED)]},
        ]
    )
    shutil.copytree(folder / "killed", folder / "third")
    shutil.copytree(folder / "all", folder / "torn")
    for file in (folder / "torn" / "checkpoints").glob("step-*/shard-00001*"):
        file.write_bytes(file.read_bytes()[:-8])
    shutil.copytree(folder / "all", folder / "half torn")
    newest = max((folder / "half torn" / "checkpoints").glob("step-*"))
    later = newest.with_name("step-00000999-epoch-00002")  # a process that is killed while it saves may leave but one
    shutil.copytree(newest, later)
    for file in later.glob("shard-00001*"):
        file.write_bytes(file.read_bytes()[:-8])
    rest = [("torn", 3), ("killed", 1), ("third", 3), ("all", 2), ("half torn", 3)]
    jobs = [{"arguments": [train(folder / "data", folder / name, SHARDED)] * world} for name, world in rest]
    full = {"arguments": [train(folder / "data", folder / "full", SHARDED)] * 2}
    tensors = max((folder / "third" / "checkpoints").glob("step-*/tensors.safetensors"))
    full["environments"] = [{"FILE_LIMIT": size_without_best(tensors) + 4096}, {}]
    return found + several([*jobs, full, *bad_jobs(folder)])


def size_without_best(file):
    """Of the tensors of a checkpoint, in bytes; an epoch may have ended before a process was killed."""
    with safe_open(file, "pt") as tensors:
        return len(save({name: tensors.get_tensor(name) for name in tensors.keys() if not name.startswith("best.")}))  # noqa: SIM118


def test_the_others_end_when_one_is_killed(killed):
    (code, _, errors), (other, _, _) = killed[0]
    assert (code, other) == (1, -signal.SIGKILL)
    assert "process 0 of 2 lost another one" in errors
    assert "run the same command again" in errors
    assert errors.count("hydrarec:") == 1


def test_a_checkpoint_goes_on_with_any_number_of_processes(folder, killed):
    for job, name in (4, "killed"), (5, "third"), (6, "all"):  # one process, three, two
        assert [code for code, _, _ in killed[job]] == [0] * len(killed[job])
        close(weights(folder / name), weights(folder / "alone"))
        epochs = [json.loads(line)["epoch"] for line in (folder / name / "log.jsonl").read_text().splitlines()]
        assert epochs == [1, 2, 3]


def test_a_torn_shard_is_named(killed):
    """Two of three processes need its rows, and all say no."""
    assert [code for code, _, _ in killed[3]] == [2, 2, 2]
    errors = "".join(error for _, _, error in killed[3])
    assert "shard-00001-of-00002.safetensors is truncated or damaged" in errors
    assert "Traceback" not in errors


def test_where_the_newest_is_torn_all_go_on_from_the_one_before(folder, killed):
    assert [code for code, _, _ in killed[7]] == [0, 0, 0]
    errors = "".join(error for _, _, error in killed[7])
    assert errors.count("training goes on from the one before") == 1
    close(weights(folder / "half torn"), weights(folder / "alone"))


def test_a_full_disk_leaves_the_last_checkpoint(folder, killed):
    (code, _, errors), (other, _, _) = killed[8]
    assert (code, other) == (1, 1)
    assert "cannot write" in errors
    (kept,) = (folder / "full" / "checkpoints").iterdir()
    assert (kept / "position.json").exists()
    assert json.loads((kept / "position.json").read_text())["epoch"] == 0  # with best weights it is larger


def test_what_does_not_go_together_is_said_once(folder, killed, subtests):
    for name, printed in zip(BAD, killed[-len(BAD) :], strict=True):
        _, _, expected, codes = BAD[name]
        with subtests.test(name):
            assert [code for code, _, _ in printed] == codes
            errors = "".join(error for _, _, error in printed)
            assert errors.count(expected) == (len(codes) if name in APART else 1)
            assert "Traceback" not in errors
    assert not (folder / "bad" / "checkpoints").exists()


def workers(parent: int) -> dict[str, int]:
    """Process numbers by ``RANK`` of the processes that ``parent`` has started."""
    found = {}
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        found |= {each[5:].decode(): int(child) for each in variables if each.startswith(b"RANK=")}
    return found


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
def test_torchrun_starts_a_killed_worker_again(folder, killed, tmp_path):
    out = tmp_path / "run"
    elastic = [
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "--max-restarts",
        "2",
        "-m",
        "hydrarec",
    ]
    command = [sys.executable, "-m", *elastic, *train(folder / "data", out, SHARDED)]
    variables = environment() | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    job = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while not reached(["step", 4], out, 0.0):
            assert job.poll() is None, job.communicate()
            time.sleep(1e-3)
        os.kill(workers(job.pid)["1"], signal.SIGKILL)
        printed, errors = job.communicate(timeout=400)
    finally:
        job.kill()
    assert job.returncode == 0, errors
    assert json.loads(printed)["epochs"] == 3
    close(weights(out), weights(folder / "alone"))
