"""A server as one would write it around attention: it keeps the last L items of users and encodes them for each answer.

    python reencode.py RUN --length 200 --port 0

The same HTTP server, micro-batches, ranking and answers as `hydrarec serve`, and everything in memory: what it does not
do (a store on disk, durability, filters) only makes it faster. `--past N` gives a user who comes for the first time N
events (L where it is left out), so that histories have their length from the beginning.
"""

import argparse
import json
import socket
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import torch
import uvicorn
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from hydrarec.data.batch import pack
from hydrarec.models.neural import NeuralModel
from hydrarec.recommender import Recommender
from hydrarec.serve.batching import Batcher
from hydrarec.serve.catalog.ranking import Conditions, Ranking
from hydrarec.serve.garbage import settle
from hydrarec.serve.http.bodies import NewEvents
from hydrarec.serve.metrics import Metrics, Reading

_NONE = np.empty(0, np.int64)
_BATCH_EVENTS = 8_192  # of histories that are encoded at once


class App:
    def __init__(self, recommender: Recommender, length: int, past: int) -> None:
        assert isinstance(recommender.model, NeuralModel)
        self.model, self.length, self.past = recommender.model, length, past
        self.ranking = Ranking.of(self.model)
        self.ids = recommender.item_table["item"].to_pylist()
        self.rows = {str(item): row for row, item in enumerate(self.ids)}
        self.histories: dict[str, deque[int]] = {}
        self.counts, self.random = Counter[str](), np.random.default_rng(0)
        self.apply = Batcher(self._apply, most=256, room=8_192, name="events")
        self.answer = Batcher(self._answer, most=64, room=1_024, name="answers")
        self.metrics = Metrics(
            lambda: Reading(queues={}, states_made=0, items=len(self.ids), store_bytes=0, version="", index=None)
        )

    def _apply(self, events: Sequence[tuple[str, str]]) -> list[bool]:
        for user, item in events:
            if user not in self.histories:
                past = self.random.integers(0, len(self.ids), self.past).tolist()
                self.histories[user] = deque(past, maxlen=self.length)
            self.histories[user].append(self.rows.get(item, 0))
            self.counts[user] += 1
        return [True] * len(events)

    @torch.inference_mode()
    def _answer(self, asked: Sequence[tuple[str, int]]) -> list[bytes]:
        histories = [np.array(self.histories[user]) for user, _ in asked]
        hidden = []
        at_once = max(1, _BATCH_EVENTS // self.length)
        for first in range(0, len(histories), at_once):
            part = histories[first : first + at_once]
            batch = pack(part, [np.zeros(len(history), np.int64) for history in part])
            hidden.append(self.model.hidden_at(batch, batch.last))
        conditions = [Conditions(k=k, allowed=None, denied=_NONE) for _, k in asked]
        answers = []
        best = self.ranking.best(torch.cat(hidden), conditions)
        for (user, _), (rows, scores) in zip(asked, best, strict=True):
            items = [{"item": self.ids[row], "score": score} for row, score in zip(rows, scores, strict=True)]
            answers.append(to_json({"user": user, "recommendations": items, "events": self.counts[user]}))
        return answers

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        for batcher in (self.apply, self.answer):
            batcher.start()
        yield
        for batcher in (self.apply, self.answer):
            await batcher.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            async with self.running():
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        path = scope["path"]
        if path == "/events":
            events = NewEvents.model_validate_json(body).events
            await self.apply([(event.user, event.item) for event in events])
            answer = json.dumps({"accepted": len(events), "duplicates": 0}).encode()
        elif path == "/metrics":
            answer = self.metrics.text()
        else:
            k = int(scope["query_string"].removeprefix(b"k="))
            (answer,) = await self.answer([(path.split("/")[2], k)])
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--past", type=int, default=None)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    past = arguments.length if arguments.past is None else arguments.past
    app = App(Recommender.load(arguments.run), arguments.length, past)
    settle()
    with socket.create_server(("127.0.0.1", arguments.port), backlog=2048) as listener:
        print(f"{arguments.run} is served at http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
