"""Folders that several processes may want at the same time, or one after the other."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from hydrarec.errors import HydrarecError, InputError
from hydrarec.files import whole_file

T = TypeVar("T")

_LOCK = ".lock"


@contextmanager
def alone_in(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Make ``folder`` if need be and keep other processes out of it; a process that dies lets go.

    Args:
        wait: until another process has done its work there.

    Raises:
        InputError: another process is at work there.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such lock
        yield
        return
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _LOCK).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise InputError(
                    f"another process is at work in {folder}; wait for it, or choose another folder"
                ) from None
            same = False  # the one that was waited for may have put another folder in this place
            with suppress(FileNotFoundError):
                same = os.path.samestat(os.fstat(file.fileno()), (folder / _LOCK).stat())
            if same:
                yield
                return


@contextmanager
def unfinished(path: Path, key: Any) -> Iterator[Path]:
    """Yield a folder beside ``path`` for work of hours, with what a process that did not finish it had left there.

    It is gone afterwards, but where the process was killed or interrupted (``KeyboardInterrupt``).

    Args:
        key: plain values that say what the work is; what was left of other work is removed.

    Raises:
        InputError: another process is at it.
    """
    folder = Path(path).parent / f".{Path(path).name}.unfinished"
    with alone_in(folder):
        try:
            _begin_anew_unless(folder, json.dumps(key))
            yield folder
        except KeyboardInterrupt:
            raise
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _begin_anew_unless(folder: Path, key: str) -> None:
    """Remove what is in ``folder`` if it was not made for ``key``."""
    if not (folder / "key").is_file() or (folder / "key").read_text(encoding="utf-8") != key:
        for each in folder.iterdir():
            if each.name != _LOCK:
                shutil.rmtree(each) if each.is_dir() else each.unlink()
        with whole_file(folder / "key") as temporary:
            temporary.write_text(key, encoding="utf-8")


def at_rest(paths: Iterable[Path], read: Callable[[], T]) -> T:
    """What ``read`` makes of files that another process may replace meanwhile: it is called again then."""
    paths = list(paths)
    while True:
        before = [_identity(path) for path in paths]
        try:
            found = read()
        except (HydrarecError, OSError):
            if before == [_identity(path) for path in paths]:
                raise
        else:
            if before == [_identity(path) for path in paths]:
                return found


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
