"""torchrun on two hosts: two network namespaces, each with an address of its own and a wire between them."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest
from jobs import close, environment, train, weights
from support import cyclic

from hydrarec.cli import main

NAMES = [f"hydrarec-{os.getpid()}-{host}" for host in "ab"]
WIRE = [f"hr{os.getpid()}{host}"[-15:] for host in "ab"]


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True)


@contextmanager
def two_hosts():
    """Addresses of two namespaces that can reach each other, and nothing else."""
    try:
        for name in NAMES:
            ip("netns", "add", name)
        ip("link", "add", WIRE[0], "type", "veth", "peer", "name", WIRE[1])
        addresses = ["10.77.0.1", "10.77.0.2"]
        for name, wire, address in zip(NAMES, WIRE, addresses, strict=True):
            ip("link", "set", wire, "netns", name)
            ip("-n", name, "address", "add", f"{address}/24", "dev", wire)
            ip("-n", name, "link", "set", wire, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield addresses
    finally:
        for name in NAMES:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def can_make_namespaces():
    if not shutil.which("ip"):
        return False
    try:
        with two_hosts():
            return True
    except subprocess.CalledProcessError:
        return False


@pytest.mark.skipif(not can_make_namespaces(), reason="needs `ip netns` and the right to make namespaces")
def test_two_hosts_train_what_one_process_does(tmp_path):
    cyclic(users=40, length=14, n_items=10).save(tmp_path / "data")
    changes = ["items.storage=sharded", "loss.kind=sampled", "loss.negatives=5"]
    with two_hosts() as addresses:
        jobs = []
        for name, wire, address in zip(NAMES, WIRE, addresses, strict=True):
            meet = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-id=job", "--rdzv-backend=c10d"]
            meet += [f"--rdzv-endpoint={addresses[0]}:29400", f"--local-addr={address}"]
            meet += [f"--rdzv-conf=is_host={'true' if address == addresses[0] else 'false'}"]  # the name is of neither
            command = [sys.executable, "-m", "torch.distributed.run", *meet, "-m", "hydrarec"]
            command += train(tmp_path / "data", tmp_path / "run", changes)
            variables = environment() | {"GLOO_SOCKET_IFNAME": wire}
            jobs.append(
                subprocess.Popen(
                    ["ip", "netns", "exec", name, *command],
                    env=variables,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        try:
            printed = [job.communicate(timeout=400) for job in jobs]
        finally:
            for job in jobs:
                job.kill()
    assert [job.returncode for job in jobs] == [0, 0], printed
    (result,) = [json.loads(out) for out, _ in printed if out]
    assert result["epochs"] == 2
    assert main(train(tmp_path / "data", tmp_path / "alone", changes)) == 0
    close(weights(tmp_path / "run"), weights(tmp_path / "alone"))
