"""The log of a run: one JSON object a line."""

import json
from pathlib import Path
from typing import Any, Self

from hydrarec.files import whole_file


class Log:
    """Appends entries to ``log.jsonl``; None writes nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def resume_at(self, epoch: int) -> Self:
        """Drop what was logged after ``epoch`` epochs: the epoch in progress is going to end, and be logged, again."""
        if self._path and self._path.exists():
            kept = [line for line in self._path.read_text().splitlines() if _epoch_of(line) <= epoch]
            with whole_file(self._path) as temporary:
                temporary.write_text("".join(line + "\n" for line in kept))
        return self

    def write(self, entry: dict[str, Any]) -> None:
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")


def _epoch_of(line: str) -> float:
    try:
        return float(json.loads(line)["epoch"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # a line cut off by a crash
