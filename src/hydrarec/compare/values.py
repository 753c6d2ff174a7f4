"""Numbers of every query as short text, so that a run's file holds all that a comparison needs."""

import base64
import binascii
import zlib

import numpy as np
from numpy.typing import NDArray

from hydrarec.errors import InputError


def pack(values: NDArray[np.float64] | NDArray[np.int64], kind: str) -> str:
    """(Q,) values as base64 of zlib of little-endian ``kind``, such as ``f4``; mostly zeros take little."""
    return base64.b64encode(zlib.compress(values.astype(f"<{kind}").tobytes(), 9)).decode("ascii")


def unpack(text: str, kind: str, where: str) -> NDArray[np.float64]:
    """The inverse of ``pack``, as float64.

    Raises:
        InputError: the text is damaged; ``where`` names it.
    """
    try:
        return np.frombuffer(zlib.decompress(base64.b64decode(text, validate=True)), f"<{kind}").astype(np.float64)
    except (binascii.Error, zlib.error, ValueError, TypeError) as error:
        raise InputError(f"{where} is damaged ({error}); restore the file, or delete it to run again") from error
