"""Files and folders that are either whole or absent.

Everything is written under a temporary name beside its place, flushed to disk, and renamed. A crash or a full
disk leaves the old content, or nothing.
"""

import ctypes
import errno
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError  # its writer's name for a full disk

from hydrarec.errors import HydrarecError, InputError

_OWNER = ".owner"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(path: Path) -> None:
    """That ``path`` is to be in."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{path} cannot be made: {error.filename} is a file; choose another place") from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on success it takes the name ``path``, on any error it is removed.

    Raises:
        InputError: there can be no such file. HydrarecError: it cannot be written.
    """
    path = Path(path)
    _make_folder(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
        _sync(path.parent)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HydrarecError(f"cannot write {path}: {reason}; nothing was changed") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder; on success it becomes ``path``, on any error it is removed.

    Where ``path`` is a link, what it names is replaced. On Linux there is no moment without a folder ``path`` where one
    was before. What a process that was killed left of it is removed by the next one for the same ``path``.

    Raises:
        InputError: ``path`` exists and ``overwrite`` is false.
    """
    path = linked(Path(path))
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; choose another name, or overwrite it (--overwrite)")
    _make_folder(path)
    _remove_left_behind(path)
    place = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    temporary = place / path.name
    try:
        with _owned(place):
            temporary.mkdir()
            try:
                yield temporary
                for inside in (temporary, *temporary.rglob("*")):
                    if inside.is_dir() or inside.is_file():
                        _sync(inside)
                _take_place(temporary, path)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)  # what was half done, or was there before
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HydrarecError(f"cannot write {path}: {reason}; nothing was changed") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def linked(path: Path) -> Path:
    """What ``path`` names where it is a link, and else itself."""
    return path.resolve() if path.is_symlink() else path


def _take_place(new: Path, path: Path) -> None:
    """Give the folder ``new`` the name ``path``, and what had it before that of ``new``."""
    if not path.exists():
        new.rename(path)
    elif not _exchange(new, path):
        old = new.with_name(f"{new.name}.old")
        path.rename(old)
        try:
            new.rename(path)
        except OSError:
            old.rename(path)
            raise
    _sync(path.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Let two names change places at one moment; false where the system or the disk cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):  # not Linux
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0:
        return True
    if (number := ctypes.get_errno()) in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(other))


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """Hold a lock on the file ``.owner`` in ``folder``, which is gone afterwards; a process that dies lets go."""
    owner = folder / _OWNER
    new = owner.with_suffix(".new")
    with new.open("w") as file:
        if _lock(file):
            new.rename(owner)  # locked from the moment it has its name
        yield
        for each in (new, owner):
            each.unlink(missing_ok=True)


def _remove_left_behind(path: Path) -> None:
    """Remove temporary folders for ``path`` whose owner is dead."""
    for owner in path.parent.glob(f".{glob.escape(path.name)}.*/{_OWNER}"):
        with suppress(FileNotFoundError), owner.open() as file:
            # One that is unlinked by now was let go by a process that has just finished.
            if _lock(file) and os.fstat(file.fileno()).st_nlink:
                shutil.rmtree(owner.parent, ignore_errors=True)


def _lock(file: IO[str]) -> bool:
    """Lock ``file`` against other processes until it is closed; false where another has it, or there are no locks."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def write_json(path: Path, value: Any) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path, *, remedy: str) -> Any:
    """Read a JSON file; a missing or damaged one is an ``InputError`` that ends with ``remedy``."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing; {remedy}") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); {remedy}") from error
