"""Who may ask: an API key, and on a loopback address without one, nobody but clients on this machine."""

import hmac
import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from hydrarec.errors import InputError

KEY_LENGTH = 16  # characters at least


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``, a name or an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@lru_cache(1024)
def _names_loopback(host: str) -> bool:
    """Whether a Host header, which has a port perhaps, names this machine."""
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:  # brackets without an address
        return False


class Guard:
    """Args:
    host: that is bound.
    keys: one of which clients send as ``Authorization: Bearer KEY``; none of them: no key is asked for.

    Raises:
        InputError: other machines can reach ``host`` and there is no key, or a key is short.
    """

    def __init__(self, host: str, keys: Sequence[str]) -> None:
        if not keys and not is_loopback(host):
            raise InputError(f"{host} can be reached from other machines; give a key (HYDRAREC_API_KEY)")
        if (short := min(map(len, keys), default=KEY_LENGTH)) < KEY_LENGTH:
            raise InputError(f"an API key has {short} characters; it needs {KEY_LENGTH} or more")
        self._expected = {f"key {number}": f"Bearer {key}".encode() for number, key in enumerate(keys)}

    def key_of(self, headers: Headers) -> str | None:
        """A name of the key that was sent; None: there is none, or a wrong one."""
        given = headers.get("Authorization", "").encode("utf-8", "replace")
        # All are compared, so that the time says nothing of which it was.
        right = [name for name, expected in self._expected.items() if hmac.compare_digest(given, expected)]
        return right[0] if right else None

    async def anyone(self, request: Request) -> None:
        """Without a key only clients on this machine may ask, for whatever it is."""
        # A web page whose name is made to point to this machine comes with that name.
        if not self._is_local(request.headers):
            raise HTTPException(421, "without an API key this server answers to localhost alone")

    def lets(self, headers: Headers) -> bool:
        """Whether a request with these headers may be answered, as ``__call__`` says."""
        return self.key_of(headers) is not None if self._expected else self._is_local(headers)

    def _is_local(self, headers: Headers) -> bool:
        return bool(self._expected) or _names_loopback(headers.get("Host", ""))

    async def __call__(self, request: Request) -> None:
        await self.anyone(request)
        if self._expected and self.key_of(request.headers) is None:
            raise HTTPException(401, "send the API key: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})
