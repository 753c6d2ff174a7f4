"""``hydrarec serve``."""

import os
from pathlib import Path
from typing import Literal

from hydrarec.cli.options import Count, MaybeCount


def serve(
    run: Path,
    /,
    *,
    host: str = "127.0.0.1",
    port: Count = 8000,
    state: str | None = None,
    durability: Literal["event", "batch"] = "event",
    precision: Literal["float32", "float16"] = "float32",
    state_limit: MaybeCount = None,
    rate: float | None = None,
    index: Literal["auto", "exact", "faiss"] = "auto",
    workers: Count = 1,
) -> None:
    """Serve a trained run over HTTP: each event is known to the very next recommendation.

    Addresses other than loopback need a key, which clients send as `Authorization: Bearer KEY`: set HYDRAREC_API_KEY,
    to several with commas between if need be.

    Parameters
    ----------
    run
        The run folder.
    host
        Address to listen at.
    port
        Port to listen at; 0 takes a free one.
    state
        Folder of the users' events and states, or a Redis or Valkey server, for many hosts (extra serve-redis):
        redis://HOST:PORT/DB, rediss:// or unix://PATH. Without it they are kept in memory.
    durability
        event: what was acknowledged outlives a loss of power. batch: at most the last few milliseconds are lost then,
        and writing costs less. A killed process loses nothing either way. Of folders; servers have their own settings.
    precision
        Of stored states; float16 takes half the space.
    state_limit
        Users with a stored state, at most. The states written longest ago are made again when they are asked for.
    rate
        Requests a second that a caller may send to each worker; callers are told apart by key, or by address.
    index
        exact: every item is scored for every answer. faiss: an index chooses which (extra ann). auto: an index for
        200,000 items or more, where faiss is installed.
    workers
        Processes that answer, each with the model in memory; they share the address and the store.
    """
    from hydrarec.errors import InputError
    from hydrarec.serve.libraries import require

    require()
    from hydrarec.serve.run import serve as run_server
    from hydrarec.serve.workers.worker import Options

    if state_limit is not None and state_limit < 1:
        raise InputError(f"--state-limit is {state_limit}; it must be at least 1")
    if rate is not None and not rate > 0:
        raise InputError(f"--rate is {rate}; it must be above 0")
    if workers < 1:
        raise InputError(f"--workers is {workers}; it must be at least 1")
    options = Options(
        run=run,
        host=host,
        state=state,
        keys=[key.strip() for key in os.environ.get("HYDRAREC_API_KEY", "").split(",") if key.strip()],
        rate=rate,
        durability=durability,
        precision=precision,
        state_limit=state_limit,
        index=index,
    )
    run_server(options, port, workers)
