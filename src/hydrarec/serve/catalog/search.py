"""Items by words of their id and text: letters count, not case, accents or punctuation."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_WORDS = 16  # that are looked for: each goes through all texts, and a query of 256 letters can have hundreds
_UNLIKE = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "ł": "l", "ı": "i", "þ": "th", "ς": "σ"}


class Search:
    """Args:
    items: V rows; every column but ``events`` is searched.
    there: (V,) bool, which can be found.
    """

    def __init__(self, items: pa.Table, there: np.ndarray) -> None:
        columns = [items[name].cast(pa.large_string()) for name in items.column_names if name != "events"]
        blank = pa.scalar(" ", pa.large_string())
        joined = pc.binary_join_element_wise(*columns, blank, null_handling="skip")
        # A word begins after a blank.
        self._texts = pc.binary_join_element_wise(blank, _folded(joined), blank).filter(pa.array(there))
        self._names = _folded(items["title" if "title" in items.column_names else "item"].cast(pa.large_string()))
        self._events = pc.fill_null(items["events"], 0).to_numpy()
        self._ids = _folded(items["item"].cast(pa.large_string()))
        self._rows = np.flatnonzero(there)  # of ``_texts``

    def __call__(self, query: str, limit: int) -> np.ndarray:
        """Rows of the ``limit`` best items with all words of ``query`` in them, best first; of its 16 longest words.

        First the item of that id, then those whose title begins so, then those where more of the words stand at the
        beginning of a word, then those with more events in training. A query without a letter finds every item.
        """
        asked = _folded(pa.array([query], pa.large_string()))[0].as_py().strip()
        # Long words first: fewer items have them.
        words = sorted(dict.fromkeys(asked.split()), key=len, reverse=True)[:_WORDS]
        rows, texts = self._rows, self._texts
        for word in words:
            has = _has(texts, word)
            rows, texts = rows[has], texts.filter(pa.array(has))
        if not len(rows):
            return rows
        starts = sum((_has(texts, f" {word}").astype(np.int64) for word in words), np.zeros(len(rows), np.int64))
        chosen = pa.array(rows)
        same = _array(pc.equal(self._ids.take(chosen), asked))
        begins = _array(pc.starts_with(self._names.take(chosen), asked))
        order = np.lexsort((rows, -self._events[rows], -starts, ~begins, ~same))
        return rows[order[:limit]]


def _folded(texts: Any) -> Any:
    """Small letters without marks, words one blank apart."""
    texts = pc.utf8_lower(pc.utf8_normalize(texts, "NFKD"))
    texts = pc.replace_substring_regex(texts, r"\p{Mn}+", "")
    for letter, plain in _UNLIKE.items():
        texts = pc.replace_substring(texts, letter, plain)
    texts = pc.replace_substring_regex(texts, r"[\p{P}\p{Z}\p{C}]+", " ")
    return pc.utf8_trim(pc.fill_null(texts, ""), " ")


def _has(texts: Any, word: str) -> np.ndarray:
    return _array(pc.match_substring(texts, word))


def _array(flags: Any) -> np.ndarray:
    return np.asarray(pc.fill_null(flags, False), bool)
