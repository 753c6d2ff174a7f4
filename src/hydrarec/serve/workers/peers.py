"""The workers of one server ask each other, over sockets in a folder that nobody else can open."""

import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

SECONDS = 2.0  # for an answer
Answer = Callable[[str], Awaitable[Any]]


@dataclass(frozen=True)
class Edition:
    """A run as it was opened at one time; later ones have larger numbers, also of the same folder."""

    number: int
    run: Path

    @classmethod
    def now(cls, run: Path) -> Self:
        """What a link points to now, so that all open the same."""
        return cls(time.time_ns(), run.resolve())

    @classmethod
    def read(cls, text: str) -> Self:
        number, run = json.loads(text)
        return cls(number, Path(run))

    def __str__(self) -> str:
        return json.dumps([self.number, str(self.run)])


class Peers:
    """Args:
    folder: of this server alone; its path is short, as those of sockets must be.
    number: of this worker; who has none of theirs only asks.

    Attributes:
        serves: what this worker has opened.
    """

    serves: Edition

    def __init__(self, folder: Path, number: int, workers: int) -> None:
        self.folder, self.number, self.workers = folder, number, workers

    @property
    def edition(self) -> Edition:
        """What all workers serve, or are about to."""
        return Edition.read((self.folder / "edition").read_text())

    @edition.setter
    def edition(self, edition: Edition) -> None:
        new = self.folder / f"edition-of-{self.number}"
        new.write_text(str(edition))
        new.replace(self.folder / "edition")

    def reload(self, run: Path) -> None:
        """Tell the others to open a run anew."""
        self.ask("reload", str(Edition.now(run)))

    def ask(self, question: str, about: str = "") -> dict[int, Any]:
        """What each of the others answers, by number. One that is gone or does not answer in time is left out."""
        answers = {}
        for number in range(self.workers):
            if number != self.number:
                try:
                    answers[number] = self._ask(number, json.dumps([question, about]))
                except (OSError, ValueError):  # it is not there, or went while it answered
                    continue
        return answers

    def _ask(self, number: int, question: str) -> Any:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(SECONDS)
            asked.connect(os.fspath(self._place(number)))
            asked.sendall(question.encode() + b"\n")
            with asked.makefile("rb") as answer:
                return json.load(answer)

    @asynccontextmanager
    async def answering(self, answers: Mapping[str, Answer]) -> AsyncIterator[None]:
        """Answer others. Each answer is JSON, made from what the question is about."""

        async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            question, about = json.loads(await reader.readline())
            writer.write(json.dumps(await answers[question](about)).encode())
            await writer.drain()
            writer.close()

        # A socket that a killed worker of this number has left is replaced.
        server = await asyncio.start_unix_server(meet, self._place(self.number))
        try:
            yield
        finally:
            server.close()

    def _place(self, number: int) -> Path:
        return self.folder / f"{number}.socket"
