"""How often a caller may ask."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from hydrarec.serve.http.guard import Guard
from hydrarec.serve.http.problems import problem
from hydrarec.serve.metrics import REFUSED

FREE = ("/healthz", "/readyz")
_CALLERS = 10_000  # that are remembered; of others nothing is known, as of new ones


class Buckets:
    """A token bucket for each caller: ``rate`` tokens a second run in, a second's worth of them at most, or one.

    Args:
        rate: above 0.
        clock: seconds.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock, self._most = rate, clock, max(1.0, rate)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, when

    def take(self, caller: str) -> float:
        """Take a token; 0, or in how many seconds there is one."""
        now = self._clock()
        tokens, before = self._left.pop(caller, (self._most, now))
        tokens = min(self._most, tokens + (now - before) * self._rate)
        wait = max(0.0, 1 - tokens) / self._rate
        self._left[caller] = (tokens if wait else tokens - 1, now)
        if len(self._left) > _CALLERS:
            self._left.popitem(last=False)
        return wait


class RateLimit:
    """Middleware. Callers are told apart by their key where it is right, else by their address."""

    def __init__(self, app: ASGIApp, guard: Guard, rate: float) -> None:
        self._app, self._guard, self._buckets = app, guard, Buckets(rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in FREE:
            address = scope["client"][0] if scope.get("client") else ""
            wait = self._buckets.take(self._guard.key_of(Headers(scope=scope)) or address)
            if wait:
                scope[REFUSED] = "rate"
                seconds = {"Retry-After": str(math.ceil(wait))}
                await problem(429, "you ask too often; slow down", headers=seconds)(scope, receive, send)
                return
        await self._app(scope, receive, send)
