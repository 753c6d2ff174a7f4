"""A digest of item ids, by which a run knows its own vocabulary."""

import hashlib

import numpy as np
import pyarrow as pa

from hydrarec.items.vocabulary import plain_ids


def digest(ids: pa.ChunkedArray | pa.Array) -> str:
    """Of ids (V,) in row order, whole numbers or text: a hash of the memory that they lie in, without Python objects.

    It is the same however they are cut into chunks, and whatever the width of their type.

    Raises:
        InputError: ids of another type.
    """
    chunks = ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]
    lengths, content = hashlib.sha256(), hashlib.sha256()
    for chunk in chunks:
        plain = plain_ids(chunk)
        if pa.types.is_integer(plain.type):
            content.update(plain.fill_null(0).to_numpy())
            continue
        _, ends, characters = plain.buffers()
        if len(plain):  # without any there may be no buffers
            offsets = np.frombuffer(ends, np.int32)[plain.offset : plain.offset + len(plain) + 1]
            lengths.update(np.diff(offsets).data)  # so that "ab", "c" is not "a", "bc"
            content.update(memoryview(characters or b"")[offsets[0] : offsets[-1]])
    return hashlib.sha256(lengths.digest() + content.digest()).hexdigest()
