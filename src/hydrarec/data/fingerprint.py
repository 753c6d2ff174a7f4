"""What a data set is, in 64 hexadecimal digits."""

import hashlib

import numpy as np
import pyarrow as pa

_CHUNK = 1 << 22


def fingerprint(
    items: np.ndarray,
    times: np.ndarray,
    offsets: np.ndarray,
    item_ids: pa.ChunkedArray,
    user_ids: pa.ChunkedArray,
    item_domains: pa.ChunkedArray | None = None,
) -> str:
    """Hex SHA-256 of events, ids and domains; the same whatever their chunking or storage.

    Args:
        items: (E,) int32; times: (E,) int64; offsets: (U+1,) int64.
        item_ids: (I,) int64 or string; user_ids: (U,) int64 or string.
        item_domains: (I,) string, names; None without domains.
    """
    digest = hashlib.sha256()

    def add(name: str, array: np.ndarray, dtype: str) -> None:
        digest.update(f"{name} {dtype} {len(array)}\n".encode())
        for start in range(0, len(array), _CHUNK):
            digest.update(np.ascontiguousarray(array[start : start + _CHUNK], dtype=dtype).data)

    add("items", items, "<i4")
    add("times", times, "<i8")
    add("offsets", offsets, "<i8")
    for name, ids in (("item ids", item_ids), ("user ids", user_ids), ("item domains", item_domains)):
        if ids is None:
            continue
        if pa.types.is_integer(ids.type):
            add(name, ids.to_numpy(), "<i8")
        else:
            lengths, text = _string_parts(ids)
            add(f"{name} lengths", lengths, "<i8")
            add(f"{name} bytes", text, "|u1")
    return digest.hexdigest()


def _string_parts(ids: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths in bytes (I,) int64 and all bytes end to end, UTF-8."""
    binary = ids.cast(pa.large_binary()).combine_chunks()
    array = pa.concat_arrays(binary.chunks) if isinstance(binary, pa.ChunkedArray) else binary
    if not len(array):
        return np.empty(0, np.int64), np.empty(0, np.uint8)
    _, places, data = array.buffers()
    ends = np.frombuffer(places, np.int64)[array.offset : array.offset + len(array) + 1]
    text = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return np.diff(ends), text[ends[0] : ends[-1]]
