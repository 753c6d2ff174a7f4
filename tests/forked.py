"""The command line in processes of their own, forked from one that has done the slow imports once.

A new interpreter takes seconds of a processor for them. What a process can show, a forked one shows as well: its
signals, its files, what it prints. That ``python -m hydrarec`` starts at all is seen in cli/test_process.py.
"""

import os
import resource
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["hydrarec.serve.run", "hydrarec.train.train", "pandas", "uvloop"]
)  # pyarrow loads pandas


def _main(arguments, environment, streams, file_bytes):
    from hydrarec.cli import main

    for number, stream in enumerate(streams, start=1):
        os.dup2(stream.fileno(), number)
        stream.close()
    os.environ.clear()
    os.environ.update(environment)
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    sys.exit(main(arguments))


class Forked:
    """``hydrarec ARGUMENTS``; its files grow to ``file_bytes`` and no further. Named as in ``subprocess.Popen``."""

    def __init__(self, arguments, environment, file_bytes=None):
        pipes = [_CONTEXT.Pipe(duplex=False) for _ in range(2)]
        streams = [write for _, write in pipes]
        words = [str(word) for word in arguments]
        self._process = _CONTEXT.Process(target=_main, args=(words, dict(environment), streams, file_bytes))
        self._process.start()
        for stream in streams:
            stream.close()
        self.stdout, self.stderr = (os.fdopen(os.dup(read.fileno()), encoding="utf-8") for read, _ in pipes)
        self.pid = self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self.returncode

    def send_signal(self, number):
        os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout=None):
        """What it still says, on both streams, when it is over."""
        with ThreadPoolExecutor(2) as pool:
            said = list(pool.map(lambda stream: stream.read(), (self.stdout, self.stderr)))
        self._process.join(timeout)
        assert self.returncode is not None, "it does not end"
        for stream in (self.stdout, self.stderr):
            stream.close()
        return said
