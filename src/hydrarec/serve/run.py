"""``hydrarec serve``: one process, or several that share an address and a store."""

import socket

from hydrarec.errors import InputError
from hydrarec.progress import say
from hydrarec.serve.http.guard import Guard
from hydrarec.serve.workers.worker import Options, work


def serve(options: Options, port: int, workers: int = 1) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        InputError: the run, the store, the address, the key or the number of workers cannot be used.
    """
    Guard(options.host, options.keys)  # before anything is begun
    if workers > 1:
        _check(options)
    with _listening(options.host, port) as listener:
        name = f"[{options.host}]" if ":" in options.host else options.host
        said = f"{options.run} is served at http://{name}:{listener.getsockname()[1]}"
        if workers == 1:
            work(options, listener, up=lambda: say(said))
        else:
            from hydrarec.serve.workers.supervisor import Workers

            Workers(options, listener, workers).serve(up=lambda: say(said))


def _check(options: Options) -> None:
    if options.state is None:
        raise InputError("several workers need a store that they share: give --state")
    if not hasattr(socket, "AF_UNIX"):
        raise InputError("this system has no sockets for several workers; serve with one")


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot listen at {host} port {port} ({error}); choose another --host or --port") from error
