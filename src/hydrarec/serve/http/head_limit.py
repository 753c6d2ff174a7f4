"""Request lines and headers that never end are refused before anybody reads them."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from hydrarec.serve.http.problems import problem

_MOST = 65_536  # bytes, and as many more as come at once


class HeadLimit(HttpToolsProtocol):
    """uvicorn's connection, closed with 431 where a head has ``_MOST`` bytes and no end.

    The application, with its limit for bodies, is asked only when a head is complete, and until then all of it is kept.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._in_head, self._came = False, 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._came += len(data)
        if self._in_head and self._came > _MOST and not self.transport.is_closing():
            body = problem(431, f"the request line and headers are too long; send {_MOST:,} bytes at most").body
            head = (
                "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: application/problem+json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + bytes(body))
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._came = True, 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()
