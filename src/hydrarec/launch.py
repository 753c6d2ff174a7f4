"""A command as several processes on this machine."""

import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from hydrarec.errors import HydrarecError
from hydrarec.machine import cores


def launch(procs: int, arguments: Sequence[str]) -> None:
    """Run ``hydrarec`` with ``arguments`` in ``procs`` processes that find each other; what `torchrun` does.

    Raises:
        SystemExit: a process failed, with its exit code; it has said why.
        HydrarecError: one was killed.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // procs)))
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # its reports of what processes said
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=procs,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "hydrarec", *arguments)
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        for code in (2, 130, 1):
            if code in codes.values():
                raise SystemExit(code) from None
        number, code = next(iter(codes.items()))
        how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
        raise HydrarecError(
            f"process {number} of {procs} {how}; run the same command again to go on from the last checkpoint"
        ) from None
    except SignalException as error:
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        raise SystemExit(128 + int(error.sigval)) from None
