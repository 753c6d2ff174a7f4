"""Texts tokenised once, on disk."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hydrarec.errors import InputError
from hydrarec.items.text.entries import KEY_BYTES, Entries
from hydrarec.items.text.tokenizer import ItemTokenizer
from hydrarec.progress import Progress, Silent
from hydrarec.sharing import alone_in

BATCH = 1024  # texts; as many are lost at most when a process dies


class TextStore:
    """Token sequences of texts, in a folder.

    An entry's key is a hash of the text, as far as it is read, and of the tokenizer's identity: equal texts share an
    entry, a changed text is another entry, and one folder serves any number of data sets, prompts and models. Entries
    keep their rows. Any number of processes may read, while one writes.

    Args:
        folder: made when first written to.

    Raises:
        InputError: the folder holds something else, or is damaged.
    """

    def __init__(self, folder: Path | str, tokenizer: ItemTokenizer) -> None:
        self.tokenizer = tokenizer
        self.entries = Entries(Path(folder))

    def __len__(self) -> int:
        """Entries, of every tokenizer."""
        return len(self.entries)

    def add(self, texts: Any, progress: Progress | None = None) -> np.ndarray:
        """Tokenise what is new, and return the rows of all, as ``lookup`` does.

        Ended at any moment, it goes on from the last whole batch when called again.

        Args:
            texts: (n,) a list or an array of text, null where there is none: as ``sentences`` gives them.

        Raises:
            InputError: ``texts`` are no text.
            HydrarecError: the disk is full.
        """
        read = self._read(texts)
        keys = self._keys(read)
        self.entries.refresh()
        if len(self._new(keys)):
            with alone_in(self.entries.folder, wait=True):
                self.entries.repair()
                self._tokenise(read, keys, progress or Silent())
        return self._rows(keys)

    def lookup(self, texts: Any) -> np.ndarray:
        """Rows of ``texts`` (n,) int64; -1 where one is null, empty, or was never added.

        Raises:
            InputError: ``texts`` are no text.
        """
        return self._rows(self._keys(self._read(texts)))

    def tokens(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sequences of ``rows`` (n,) end to end: token ids (T,) int32 and offsets (n+1,) int64.

        Raises:
            InputError: a row is -1 or beyond the store.
        """
        rows = np.asarray(rows, np.int64)
        bad = (rows < 0) | (rows >= len(self))
        if bad.any():
            where = int(np.argmax(bad))
            raise InputError(
                f"position {where} asks for the text {int(rows[where])} of {len(self)}; leave out items without text"
            )
        ends = self.entries.ends[rows]
        starts = np.where(rows > 0, self.entries.ends[rows - 1], 0)
        offsets = np.concatenate([[0], np.cumsum(ends - starts)]).astype(np.int64)
        places = np.repeat(starts - offsets[:-1], ends - starts) + np.arange(offsets[-1])
        return np.asarray(self.entries.tokens[places]), offsets

    def _tokenise(self, texts: pa.Array, keys: pa.Array, progress: Progress) -> None:
        new = self._new(keys)
        with progress.task("tokenise", total=len(new), unit="texts") as task:
            for first in range(0, len(new), BATCH):
                chosen = new[first : first + BATCH]
                tokens, offsets = self.tokenizer(texts.take(chosen).to_pylist())
                made = np.frombuffer(b"".join(keys.take(chosen).to_pylist()), f"V{KEY_BYTES}")
                self.entries.append(tokens, np.diff(offsets), made)
                task.advance(len(chosen))

    def _read(self, texts: Any) -> pa.Array:
        """As much of each text as the tokenizer reads, null where there is nothing."""
        try:
            array = texts if isinstance(texts, pa.Array | pa.ChunkedArray) else pa.array(texts, pa.large_string())
            array = array.cast(pa.large_string())
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, UnicodeEncodeError) as error:
            raise InputError(f"item texts must be text or null ({error})") from error
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        read = pc.utf8_slice_codeunits(array, 0, self.tokenizer.characters)
        return pc.if_else(pc.equal(read, pa.scalar("", read.type)), None, read)

    def _keys(self, texts: pa.Array) -> pa.Array:
        kind, identity = pa.binary(KEY_BYTES), self.tokenizer.identity
        return pa.array((text and _key(text, identity) for text in texts.to_pylist()), kind)

    def _known(self) -> pa.Array:
        keys = self.entries.keys
        return pa.Array.from_buffers(pa.binary(KEY_BYTES), len(keys), [None, pa.py_buffer(keys)])

    def _rows(self, keys: pa.Array) -> np.ndarray:
        rows = pc.fill_null(pc.index_in(keys, self._known(), skip_nulls=True), -1)
        return np.asarray(rows, dtype=np.int64)

    def _new(self, keys: pa.Array) -> np.ndarray:
        """Where the first text of each entry that has still to be made stands in ``keys``."""
        missing = np.flatnonzero((self._rows(keys) < 0) & np.asarray(keys.is_valid()))
        codes = keys.take(missing).dictionary_encode().indices
        return missing[np.unique(codes, return_index=True)[1]]


def _key(text: str, identity: bytes) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES, key=identity).digest()
