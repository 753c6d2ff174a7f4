"""The memory of a server while it is under load."""

import asyncio
from contextlib import suppress
from statistics import median
from typing import Any

from hydrarec.load.client import Client, NoAnswerError
from hydrarec.load.server import read

_SECONDS = 1.0
_PARTS = 5  # of the second half: the first is compared with the last


class Memory:
    """Reads the server's resident memory until it is cancelled."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.bytes: list[float] = []

    async def watch(self) -> None:
        while True:
            with suppress(NoAnswerError):
                reading = await read(self._client)
                if reading.memory_bytes is not None:
                    self.bytes.append(reading.memory_bytes)
            await asyncio.sleep(_SECONDS)

    def to_dict(self) -> dict[str, Any]:
        """MB at the beginning, the middle and the end, and growth in the second half as a share of the middle.

        Medians, so that a model that is loaded beside another does not count as growth.
        """
        part = max(1, len(self.bytes) // (2 * _PARTS))
        if len(self.bytes) < 2:
            return {"begin_mb": None, "middle_mb": None, "end_mb": None, "growth": None}
        half = len(self.bytes) // 2
        begin, middle, end = (median(self.bytes[first : first + part]) for first in (0, half, len(self.bytes) - part))
        found = {"begin_mb": begin, "middle_mb": middle, "end_mb": end}
        return {name: round(value / 1e6, 1) for name, value in found.items()} | {"growth": round(end / middle - 1, 4)}
