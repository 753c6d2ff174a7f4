"""Bodies that are too large are refused by their announced length, or as soon as too much of them has come."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hydrarec.serve.http.problems import problem
from hydrarec.serve.metrics import REFUSED


class BodyLimit:
    """Middleware; bodies have ``most`` bytes or fewer."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most = app, most
        self._refusal = f"the body is too large; send {most:,} bytes at most"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = dict(scope.get("headers", [])).get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self._most:
            scope[REFUSED] = "size"
            await problem(413, self._refusal, headers={"Connection": "close"})(scope, receive, send)
            return
        came = 0

        async def limited() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._most:
                raise HTTPException(413, self._refusal, {"Connection": "close"})
            return message

        await self._app(scope, limited, send)
