"""What a server says of itself: CPU seconds and memory of its processes, and which items it has."""

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from hydrarec.errors import HydrarecError, InputError
from hydrarec.load.client import Answer, Client

_TRIES = 5
_VALUE = re.compile(rb"^(process_\w+)(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """``None`` where the server's system tells nothing, or the server was too busy to say."""

    cpu_seconds: float | None
    memory_bytes: float | None


async def read(client: Client) -> Reading:
    """Raises:
    HydrarecError: it is no server of ours, or wants a key.
    NoAnswerError: there was none.
    """
    answer = await _patiently(client, "/metrics")
    if answer is None:
        return Reading(cpu_seconds=None, memory_bytes=None)
    if answer.status == 401:
        raise HydrarecError("the server wants an API key: set HYDRAREC_API_KEY")
    if answer.status != 200 or b"hydrarec_requests" not in answer.body:
        raise HydrarecError("what listens there is no `hydrarec serve`")
    values: dict[str, float] = {}
    for name, value in _VALUE.findall(answer.body):  # once for each worker
        values[name.decode()] = values.get(name.decode(), 0.0) + float(value)
    return Reading(
        cpu_seconds=values.get("process_cpu_seconds_total"), memory_bytes=values.get("process_resident_memory_bytes")
    )


async def known(client: Client, items: Sequence[int | str]) -> int | None:
    """How many of the items the server can recommend; None where it is too busy to say or ids are too long to ask.

    Raises:
        InputError: not one.
    """
    answer = await _patiently(client, f"/items?{urlencode([('id', item) for item in items])}")
    if answer is None or answer.status == 431:
        return None
    if answer.status != 200:
        raise HydrarecError(f"GET /items: status {answer.status}, {answer.body[:200].decode(errors='replace')}")
    found = len(json.loads(answer.body)["items"])
    if not found:
        raise InputError(
            f"the server has none of {len(items)} items drawn from the data, such as {items[0]!r}; "
            "replay events of the catalog that its run was trained on"
        )
    return found


async def _patiently(client: Client, target: str) -> Answer | None:
    """The answer, or None where the server stays too busy."""
    for _ in range(_TRIES):
        answer = await client.request("GET", target)
        if answer.status not in (429, 503):
            return answer
        await asyncio.sleep(1.0)  # as both ask for
    return None
