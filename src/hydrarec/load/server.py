"""What a server says of itself: CPU seconds and memory of its processes."""

import asyncio
import re
from dataclasses import dataclass

from hydrarec.errors import HydrarecError
from hydrarec.load.client import Client

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
    for _ in range(_TRIES):
        answer = await client.request("GET", "/metrics")
        if answer.status not in (429, 503):
            break
        await asyncio.sleep(1.0)  # as both ask for
    else:
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
