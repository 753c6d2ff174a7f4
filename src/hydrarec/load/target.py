"""Where a load may go: to this machine, and nowhere else."""

import socket
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from hydrarec.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Target:
    """An address of this machine, as a number."""

    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Target":
        """The target that ``url`` names, such as http://127.0.0.1:8000.

        Raises:
            InputError: it is no such URL, or another machine.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or 80
        except ValueError as error:
            raise InputError(f"--url {url!r} is no URL ({error}); it looks like http://127.0.0.1:8000") from error
        if parts.scheme != "http" or not host or parts.path.strip("/") or parts.query:
            raise InputError(f"--url {url!r} must look like http://127.0.0.1:8000")
        try:
            addresses = {str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        except (OSError, UnicodeError) as error:
            raise InputError(f"--url {url!r}: there is no host {host!r}") from error
        if not all(ip_address(address).is_loopback for address in addresses):
            raise InputError(f"--url {url!r} is not this machine; a load goes to 127.0.0.1, ::1 or localhost alone")
        return cls(host=sorted(addresses)[0], port=port)
