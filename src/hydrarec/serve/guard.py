"""Who may ask: an API key, and on a loopback address without one, nobody but clients on this machine."""

import hmac
import ipaddress

from fastapi import Request
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


class Guard:
    """Args:
    host: that is bound.
    key: that clients send as ``Authorization: Bearer KEY``; None: no key.

    Raises:
        InputError: other machines can reach ``host`` and there is no key, or the key is short.
    """

    def __init__(self, host: str, key: str | None) -> None:
        if key is None and not is_loopback(host):
            raise InputError(f"{host} can be reached from other machines; give a key (HYDRAREC_API_KEY)")
        if key is not None and len(key) < KEY_LENGTH:
            raise InputError(f"the API key has {len(key)} characters; it needs {KEY_LENGTH} or more")
        self._expected = None if key is None else f"Bearer {key}".encode()

    async def anyone(self, request: Request) -> None:
        """Without a key only clients on this machine may ask, for whatever it is."""
        # A web page whose name is made to point to this machine comes with that name.
        if self._expected is None and not is_loopback(request.url.hostname or ""):
            raise HTTPException(421, "without an API key this server answers to localhost alone")

    async def __call__(self, request: Request) -> None:
        await self.anyone(request)
        if self._expected is None:
            return
        given = request.headers.get("Authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._expected):
            raise HTTPException(401, "send the API key: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})
