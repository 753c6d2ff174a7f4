"""The processes that train one model together. Alone, all of this does nothing.

`torchrun` or ``hydrarec train --procs`` starts and numbers them (``RANK``, ``WORLD_SIZE``); they talk by
torch.distributed: gloo for what lies in memory, NCCL for what lies on GPUs.
"""

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from hydrarec._version import __version__
from hydrarec.errors import HydrarecError, InputError, first_line

_SHARED_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
_GRACE = 1.0  # seconds in which others see why this process ends


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if _together() else 0


def world() -> int:
    """How many processes there are."""
    return dist.get_world_size() if _together() else 1


def is_first() -> bool:
    """Whether this process is the one that writes files and speaks."""
    return rank() == 0


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Join the other processes, where this one was started among several, and leave them at the end.

    Whoever waits longer than ``HYDRAREC_TIMEOUT`` seconds (1,800) for another process ends.

    Yields:
        The device of this process: of ``cuda`` that of its number on its host.

    Raises:
        InputError: the processes run other code, or were told other numbers of processes.
        HydrarecError: one of them did not come.
    """
    said = os.environ.get("WORLD_SIZE", "1")
    if not said.isdecimal() or int(said) < 1:
        raise InputError(f"WORLD_SIZE is {said!r}, which is no number of processes; start with torchrun, or unset it")
    count = int(said)
    if count == 1:
        yield device
        return
    place = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" else device
    store: Store | None = None
    try:
        store = _meet(count)
        if place.startswith("cuda"):
            torch.cuda.set_device(place)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if place.startswith("cuda") else "gloo",
            store=PrefixStore("group", store),
            rank=int(os.environ["RANK"]),
            world_size=count,
            timeout=_timeout(),
        )
        yield place
    except HydrarecError as error:
        if store is None:
            raise
        said_first = _first_to_say(store, str(error))
        if os.environ["RANK"] == "0":
            time.sleep(_GRACE)  # the store ends with it, and others may be about to ask whether this was said
        if said_first:
            raise
        raise SystemExit(2 if isinstance(error, InputError) else 1) from error
    finally:
        if _together():
            dist.destroy_process_group()


def _meet(count: int) -> Store:
    """The store by which processes find each other, once all have said who they are."""
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))
    of_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if restarts and of_agent:
        raise InputError(
            f"torchrun restarts workers with what the dead ones left in its store, and they never meet; "
            f"set {_SHARED_STORE}=1 before torchrun --max-restarts {restarts}"
        )
    try:
        own = int(os.environ["RANK"])
        store = TCPStore(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=own == 0 and not of_agent,
            wait_for_workers=False,  # of another number of processes it would wait in vain
            multi_tenant=True,
            timeout=_timeout(),
        )
        mine = {"processes": count, "hydrarec": __version__, "code": _code(), "torch": torch.__version__}
        store.set(f"hello/{own}", json.dumps({**mine, "host": socket.gethostname()}))
    except (KeyError, ValueError) as error:
        raise InputError(f"WORLD_SIZE is {count} and {error} is missing or wrong; start with torchrun") from error
    except dist.DistError as error:
        raise HydrarecError(f"process {own} cannot reach the first one ({first_line(error)})") from error
    for other in range(count):
        try:
            theirs = json.loads(store.get(f"hello/{other}"))
        except dist.DistError as error:
            raise HydrarecError(f"process {other} of {count} did not come ({first_line(error)})") from error
        for name, value in mine.items():
            if theirs[name] != value:
                time.sleep(_GRACE)
                raise InputError(
                    f"process {own} has {name} {value}, process {other} on {theirs['host']} has {theirs[name]}; "
                    "start all with the same command and the same code"
                )
    return store


def _timeout() -> timedelta:
    return timedelta(seconds=float(os.environ.get("HYDRAREC_TIMEOUT", "1800")))


def _code() -> str:
    """A digest of the package's sources."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _first_to_say(store: Store, message: str) -> bool:
    """Whether nobody has said ``message`` before; processes that fail alike are to be heard once."""
    try:
        return bool(store.add(f"said/{hashlib.sha256(message.encode()).hexdigest()}", 1) == 1)
    except RuntimeError:  # the process that kept the store is gone
        return True


def _talk(call: Callable[..., Any], *arguments: Any) -> None:
    """A collective call of torch.distributed.

    Raises:
        HydrarecError: another process is gone, or does not answer.
    """
    try:
        call(*arguments)
    except RuntimeError as error:
        time.sleep(_GRACE)  # so that whoever started the processes sees the one that failed first
        raise HydrarecError(
            f"process {rank()} of {world()} lost another one ({first_line(error)}); see what that one said, and run "
            "the same command again to go on from the last checkpoint"
        ) from error


def total(values: Tensor) -> Tensor:
    """The sum over processes of ``values``, of the same shape in all, in their place."""
    if world() > 1:
        _talk(dist.all_reduce, values)
    return values


def gather(values: Tensor) -> list[Tensor]:
    """What each process has: (n, ...) with an n of its own."""
    if world() == 1:
        return [values]
    counts = torch.zeros(world(), dtype=torch.int64)
    counts[rank()] = len(values)
    sizes = total(counts).tolist()
    padded = values.new_zeros(max(sizes), *values.shape[1:])
    padded[: len(values)] = values
    parts = [torch.empty_like(padded) for _ in sizes]
    _talk(dist.all_gather, parts, padded)
    return [part[:size] for part, size in zip(parts, sizes, strict=True)]


def beside(values: Tensor) -> Tensor:
    """(B, k) of each process, the same B and k in all -> (B, world * k), those of the first process first."""
    return torch.cat(gather(values.T)).T  # (world * k, B) -> (B, world * k)


def exchange(parts: list[Tensor]) -> list[Tensor]:
    """Give each process its part, (n, ...) with any n, and get one from each."""
    if world() == 1:
        return parts
    sizes = torch.tensor([len(part) for part in parts])
    theirs = torch.empty_like(sizes)
    _talk(dist.all_to_all_single, theirs, sizes)
    found = parts[0].new_empty(int(theirs.sum()), *parts[0].shape[1:])
    _talk(dist.all_to_all_single, found, torch.cat(parts), theirs.tolist(), sizes.tolist())
    return list(found.split(theirs.tolist()))


def gather_facts(facts: Any) -> list[Any]:
    """What each process has, of what JSON can hold."""
    return [json.loads(bytes(part.tolist())) for part in gather(_as_bytes(facts))]


def from_first(facts: Any) -> Any:
    """What the first process has, of what JSON can hold."""
    if world() == 1:
        return facts
    value = _as_bytes(facts)
    size = torch.tensor(len(value))
    _talk(dist.broadcast, size, 0)
    value = value if is_first() else torch.empty(int(size), dtype=torch.uint8)
    _talk(dist.broadcast, value, 0)
    return json.loads(bytes(value.tolist()))


def tensors_from_first(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the first process, on the CPU; others may come with none."""
    if world() == 1:
        return tensors
    plan = from_first([[name, str(t.dtype).removeprefix("torch."), list(t.shape)] for name, t in tensors.items()])
    found = {}
    for name, dtype, shape in plan:
        found[name] = tensors[name] if is_first() else torch.empty(shape, dtype=getattr(torch, dtype))
        _talk(dist.broadcast, found[name], 0)
    return found


def _as_bytes(facts: Any) -> Tensor:
    return torch.tensor(list(json.dumps(facts).encode()), dtype=torch.uint8)


def require_same(facts: dict[str, Any]) -> None:
    """Raise an ``InputError`` where a process has other ``facts`` (JSON) than the first."""
    if world() == 1:
        return
    everyone = gather_facts({"host": socket.gethostname(), **facts})
    for number, theirs in enumerate(everyone):
        for name in facts:
            if theirs[name] != everyone[0][name]:
                raise InputError(
                    f"process {number} on {theirs['host']} has another {name} than the first one on "
                    f"{everyone[0]['host']} ({_difference(everyone[0][name], theirs[name])}); start all with the same "
                    "command, on the same data set"
                )


def _difference(one: Any, other: Any) -> str:
    """What differs, in a few words."""
    if isinstance(one, dict) and isinstance(other, dict):
        name = next(key for key in {**one, **other} if one.get(key) != other.get(key))
        return f"{name} {_difference(one.get(name), other.get(name))}"
    return f"{other} against {one}"


@contextmanager
def own_randomness(*seed: int) -> Iterator[None]:
    """Within, random numbers follow ``seed`` and differ between processes; after it, they go on alike in all."""
    if world() == 1:
        yield
        return
    own = int(np.random.SeedSequence([*seed, rank()]).generate_state(1, np.uint64)[0] >> 1)
    with torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_available() else []):
        torch.manual_seed(own)
        yield
