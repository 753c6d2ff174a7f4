"""HTTP/1.1 for a load: connections that stay open, one request at a time on each, as little CPU as can be.

The client shares the machine with the server that it measures: a request takes 0.02 ms of CPU, a seventh of what
aiohttp takes (docs/serving.md).
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import cast

import httptools

from hydrarec.errors import HydrarecError


class NoAnswerError(HydrarecError):
    """The connection was refused, or ended before the answer was there."""


@dataclass(slots=True)
class Answer:
    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)  # names in lower case
    body: bytes = b""


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._answer, self._answered = Answer(), asyncio.get_running_loop().create_future()
        self._answered.cancel()
        self.used = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by name
        self._parser = httptools.HttpResponseParser(self)

    @property
    def open(self) -> bool:
        return not self._transport.is_closing()

    async def ask(self, request: bytes) -> Answer:
        self._answer, self._answered = Answer(), asyncio.get_running_loop().create_future()
        self._transport.write(request)
        answer: Answer = await self._answered
        self.used = True
        return answer

    def close(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.connection_lost(error)
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._answered.done():
            self._answered.set_exception(NoAnswerError(f"the connection ended without an answer ({error or 'closed'})"))

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answer.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._answer.body += body

    def on_message_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()
        if not self._parser.should_keep_alive():
            self._transport.close()
        if not self._answered.done():
            self._answered.set_result(self._answer)


class Client:
    """Args:
    host, port: where the server listens.
    key: sent as ``Authorization: Bearer KEY``.
    connections: at once; more requests wait for one of them.
    """

    def __init__(self, host: str, port: int, *, key: str | None = None, connections: int = 256) -> None:
        self._place, self._room = (host, port), connections
        name = f"[{host}]" if ":" in host else host
        self._headers = f" HTTP/1.1\r\nHost: {name}:{port}\r\n" + (f"Authorization: Bearer {key}\r\n" if key else "")
        self._idle: list[_Connection] = []
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def request(self, method: str, target: str, body: bytes | None = None) -> Answer:
        """Args:
            target: path and query, quoted.
            body: JSON.

        Raises:
            NoAnswerError: there was none.
        """
        head = f"{method} {target}{self._headers}"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        message = f"{head}\r\n".encode() + (body or b"")
        while True:
            connection = await self._connection()
            try:
                return await connection.ask(message)
            except NoAnswerError:
                # A server may close a connection that was idle just when a request is sent on it.
                if not connection.used:
                    raise
                connection.used = False
            except asyncio.CancelledError:
                connection.close()  # the answer may come yet, and nobody waits for it
                raise
            finally:
                self._release(connection)

    def close(self) -> None:
        for connection in self._idle:
            connection.close()

    async def _connection(self) -> _Connection:
        if self._room:
            self._room -= 1
        else:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        try:
            _, connection = await asyncio.get_running_loop().create_connection(_Connection, *self._place)
        except OSError as error:
            self._make_room()
            raise NoAnswerError(
                f"cannot connect to {self._place[0]} port {self._place[1]}: {error.strerror}"
            ) from error
        return connection

    def _release(self, connection: _Connection) -> None:
        if connection.open:
            self._idle.append(connection)
        self._make_room()

    def _make_room(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # else nobody waits for it any more
                turn.set_result(None)
                return
        self._room += 1
