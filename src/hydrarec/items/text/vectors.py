"""Vectors of texts through a language model that does not learn, on disk: each text is read once."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from hydrarec.items.text.backbone import Backbone
from hydrarec.items.text.config import TextConfig
from hydrarec.items.text.entries import Entries
from hydrarec.items.text.store import TextStore
from hydrarec.progress import Progress, Silent
from hydrarec.sharing import alone_in

BATCH = 256  # texts; as many are lost at most when a process dies


class VectorStore:
    """Vectors under the keys of a ``TextStore``'s entries, for one language model as it lies in its folder.

    Args:
        folder: one folder serves any number of models.
        backbone: called when there is something to read.
        identity: 32 bytes that differ where vectors may differ, of ``model_identity``.
    """

    def __init__(self, folder: Path, texts: TextStore, backbone: Callable[[], Backbone], identity: bytes) -> None:
        self.texts = texts
        self._backbone = backbone
        self._entries = Entries(folder / identity.hex()[:16])

    def vectors(self, rows: np.ndarray, progress: Progress | None = None) -> np.ndarray:
        """(n, h) float32 of the texts in these rows (n,) of the text store; ended at any moment, it goes on from there.

        Raises:
            InputError: a row is not in the text store, or the folder is damaged.
            HydrarecError: the disk is full.
        """
        rows = np.asarray(rows, np.int64)
        distinct = np.unique(rows)
        keys = self.texts.entries.keys[distinct]
        self._entries.refresh()
        if (self._places(keys) < 0).any():
            with alone_in(self._entries.folder, wait=True):
                self._entries.repair()
                self._read(distinct, keys, progress or Silent())
        places = self._places(keys)[np.searchsorted(distinct, rows)]
        width = int(self._entries.ends[0]) if len(self._entries) else self._backbone().width
        found: np.ndarray = self._entries.tokens.view("<f4").reshape(-1, width)[places]  # (n, h)
        return found

    def _read(self, rows: np.ndarray, keys: np.ndarray, progress: Progress) -> None:
        missing = self._places(keys) < 0
        rows, keys = rows[missing], keys[missing]
        lengths = np.diff(self.texts.tokens(rows)[1])
        order = np.argsort(-lengths, kind="stable")  # as little padding as there can be
        backbone = self._backbone()
        with progress.task("read texts", total=len(rows), unit="texts") as task:
            for first in range(0, len(rows), BATCH):
                chosen = order[first : first + BATCH]
                tokens, offsets = map(torch.from_numpy, self.texts.tokens(rows[chosen]))
                with torch.inference_mode():
                    vectors = backbone.encode(tokens, offsets).float().cpu().numpy()
                self._entries.append(vectors.view("<i4").ravel(), np.full(len(chosen), vectors.shape[1]), keys[chosen])
                task.advance(len(chosen))

    def _places(self, keys: np.ndarray) -> np.ndarray:
        """(n,) where the entry of each key lies; -1 where there is none."""
        kind = pa.binary(keys.dtype.itemsize)
        wanted, known = (
            pa.Array.from_buffers(kind, len(each), [None, pa.py_buffer(np.ascontiguousarray(each))])
            for each in (keys, self._entries.keys)
        )
        return np.asarray(pa.compute.index_in(wanted, known).fill_null(-1), np.int64)


def model_identity(folder: Path, config: TextConfig) -> bytes:
    """A hash of the weights in ``folder``, and of what else decides on a vector but the tokens."""
    digest = hashlib.sha256(f"1 {config.pooling} {config.dtype}".encode())
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".json")):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.digest()
