"""What else happens to a server in a long run: other models, items that come and go, users who want to be forgotten."""

import asyncio
import json
import re
import time
from collections.abc import Callable, Coroutine, Iterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hydrarec.load.client import Answer, Client, NoAnswerError
from hydrarec.load.counts import Counts
from hydrarec.load.traffic import Traffic
from hydrarec.load.users import PREFIX, Users

RELOAD_SECONDS, ITEM_SECONDS, ERASE_SECONDS = 20.0, 1.0, 0.5  # between two
_SCRUB_SECONDS = 120.0  # until what was erased must be gone from files
_BLOCK = 2**22  # bytes of a file in memory
_NEW = 9_000_000_000_000_000  # ids of new items where ids are numbers


class Soak:
    """Attributes:
    done: how many reloads, erasures ... there were.
    erased: names of users.
    """

    def __init__(self, client: Client, users: Users, traffic: Traffic, counts: Counts) -> None:
        self._client, self._users, self._traffic, self._counts = client, users, traffic, counts
        self.done = dict.fromkeys(("reloads", "items_removed", "items_returned", "items_added", "erasures"), 0)
        self.erased: list[str] = []
        self._end = 0.0

    async def run(self, seconds: float) -> None:
        """Return when the last thing that was begun within ``seconds`` is done."""
        self._end = time.perf_counter() + seconds
        await asyncio.gather(
            self._every(RELOAD_SECONDS, self._reload),
            self._every(ITEM_SECONDS, self._item),
            self._every(ERASE_SECONDS, self._erase),
            self._new_items(),
        )

    async def still_there(self, folder: Path | None) -> list[str]:
        """Erased users of whom the server knows something at the end, or of whom a file of ``folder`` holds the name.

        Files are written anew some time after an erasure, which is waited for.
        """
        found = [name for name in self.erased if not await self._unknown(name)]
        if folder is None:
            return found
        end, named = time.perf_counter() + _SCRUB_SECONDS, self.erased
        while named:
            last = time.perf_counter() > end
            named = await asyncio.to_thread(_named_in, folder, self.erased)
            if last:
                break
            await asyncio.sleep(1.0 if named else 0.0)
        return sorted({*found, *named})

    async def _every(self, seconds: float, do: Callable[[], Coroutine[Any, Any, None]]) -> None:
        seconds = min(seconds, (self._end - time.perf_counter()) / 3)
        while (left := self._end - time.perf_counter()) > seconds:
            await asyncio.sleep(min(seconds, left))
            try:
                await do()
            except NoAnswerError as error:
                self._counts.failed(do.__name__.strip("_"), str(error))

    async def _reload(self) -> None:
        if await self._expect("reload", 202, "POST", "/admin/reload") is None:
            return
        while True:
            await asyncio.sleep(0.25)
            answer = await self._client.request("GET", "/admin/reload")
            status = json.loads(answer.body) if answer.status == 200 else {"doing": "serving"}
            if status["doing"] == "failed":
                self._counts.failed("reload", status["error"])
            if status["doing"] in ("serving", "failed"):
                self.done["reloads"] += status["doing"] == "serving"
                return

    async def _item(self) -> None:
        """Take an item out that was recommended a moment ago, and bring it back."""
        if not self._traffic.latest:
            return
        item = self._traffic.latest[0]
        if await self._expect("item", 204, "DELETE", f"/items/{quote(str(item), safe='')}") is None:
            return
        self._traffic.gone.add(item)
        self.done["items_removed"] += 1
        await asyncio.sleep(0.2)
        self._traffic.gone.discard(item)
        while await self._expect("item", 200, "POST", "/items", {"items": [{"item": item}]}) is None:
            await asyncio.sleep(1.0)  # it is not left out for good
            if time.perf_counter() > self._end:
                return
        self.done["items_returned"] += 1

    async def _new_items(self) -> None:
        """Copies of an item under new ids, each taken out again; only models that read text take new ids."""
        for number in count():
            await asyncio.sleep(ITEM_SECONDS)
            if time.perf_counter() > self._end:
                return
            try:
                if not await self._new_item(number):
                    return
            except NoAnswerError as error:
                self._counts.failed("item", str(error))

    async def _new_item(self, number: int) -> bool:
        """Whether the model takes new ids."""
        answer = await self._expect("item", 200, "GET", "/items?limit=1")
        if answer is None or not (known := json.loads(answer.body)["items"]):
            return True
        new = known[0] | {"item": _NEW + number if isinstance(known[0]["item"], int) else f"load-item-{number}"}
        answer = await self._client.request("POST", "/items", json.dumps({"items": [new]}).encode())
        if answer.status == 422:
            return False
        if answer.status != 200:
            self._counts.refuses("item", answer)
            return True
        self.done["items_added"] += 1
        await self._expect("item", 204, "DELETE", f"/items/{quote(str(new['item']), safe='')}")
        return True

    async def _erase(self) -> None:
        user = self._users.retire()
        if user is None:
            return
        while user.under_way:
            await asyncio.sleep(0.01)
        if await self._expect("erasure", 204, "DELETE", f"/users/{quote(user.name, safe='')}") is None:
            return
        self.erased.append(user.name)
        self.done["erasures"] += 1
        if not await self._unknown(user.name):
            self._counts.failed("erasure", "a user who was erased is known")

    async def _unknown(self, name: str) -> bool:
        """Whether the server knows nothing of a user; one that does not answer is asked once more."""
        try:
            return await self._is_unknown(name)
        except NoAnswerError:
            return await self._is_unknown(name)

    async def _is_unknown(self, name: str) -> bool:
        user = quote(name, safe="")
        state = await self._client.request("GET", f"/users/{user}/state")
        if state.status != 200 or json.loads(state.body)["events"]:
            return False
        return (await self._client.request("GET", f"/users/{user}/recommendations")).status == 404

    async def _expect(self, kind: str, status: int, method: str, target: str, body: Any = None) -> Answer | None:
        """The answer if it is what is expected; others are counted."""
        began = time.perf_counter()
        data = None if body is None else json.dumps(body).encode()
        answer = await self._client.request(method, target, data)
        if answer.status == status:
            self._counts.good(kind, time.perf_counter() - began)
            return answer
        self._counts.refuses(kind, answer)
        return None


def _named_in(folder: Path, names: list[str]) -> list[str]:
    """Those of ``names`` that a file holds; all begin with ``PREFIX``."""
    wanted, found = {name.encode() for name in names}, set[bytes]()
    lengths = sorted({len(name) for name in wanted})
    for path in folder.rglob("*"):
        if path.is_file():
            for block in _blocks(path, max(lengths, default=0)):
                for begins in re.finditer(re.escape(PREFIX.encode()), block):
                    place = begins.start()
                    found |= {block[place : place + length] for length in lengths} & wanted
    return [name for name in names if name.encode() in found]


def _blocks(path: Path, longest: int) -> Iterator[bytes]:
    """The content of a file, so that what is not longer than ``longest`` bytes is whole in one of them."""
    end = b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield end + block
            end = (end + block)[-longest:]
