"""The best items of many users, a batch at a time; several processes share the work."""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from hydrarec import processes
from hydrarec.asked import Asked
from hydrarec.data.windows import fill, share
from hydrarec.models.contract import Model
from hydrarec.models.neural import NeuralModel
from hydrarec.retrieve.exact import top_k

_BATCH_EVENTS = 8_192  # a batch stays in cache: eight times as many events take half as long again each
_SCORE_BYTES = 256 * 2**20


@torch.inference_mode()
def best_items(
    model: Model,
    asked: Asked,
    k: int,
    *,
    max_len: int = 0,
    exclude_seen: bool = False,
    candidates: torch.Tensor | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` best items of each of U users.

    Several processes share the users, or where they share the table of items, the catalog: then each reads all
    histories and scores its own items. Either way each returns all that was found.

    Args:
        max_len: events of each history given to the model, the last ones; 0 is all.
        exclude_seen: leave out all items of the history, whatever part of it the model was given.
        candidates: (C,) int64 rows, the only ones that may be recommended.
        progress: called with (users done, all users).

    Returns:
        rows (U, k) int64 and scores (U, k) float32, as of ``top_k``.
    """
    n_users, sharded = len(asked.users), isinstance(model, NeuralModel) and model.items.sharded
    rows, scores = np.zeros((n_users, k), np.int64), np.zeros((n_users, k), np.float32)
    read = asked.latest(max_len)
    own, done = np.arange(n_users) if sharded else _own(read), 0
    for chosen in _batches(model, read, own):
        best, value = top_k(
            model.score(read.batch(chosen).to(device)),
            len(chosen),
            k,
            n_items=model.n_items,
            seen=asked.pairs(chosen, device) if exclude_seen else None,
            candidates=candidates,
            sharded=sharded,
        )
        rows[chosen], scores[chosen] = best.cpu().numpy(), value.cpu().numpy()
        done += len(chosen)
        progress(done * n_users // len(own), n_users)
    for found in () if sharded else (rows, scores):
        processes.total(torch.from_numpy(found))  # zeros where others asked
    return rows, scores


def _own(asked: Asked) -> np.ndarray:
    """Places of the users that this process asks for: about as many events in each."""
    part = share(asked.end - asked.first, processes.rank(), processes.world())
    return np.arange(part.start, part.stop)


def _batches(model: Model, asked: Asked, own: np.ndarray) -> Iterator[np.ndarray]:
    """Users whose histories are about as long together, so that no batch is mostly waiting."""
    lengths = (asked.end - asked.first)[own]
    order = np.argsort(-lengths, kind="stable")
    size = model.n_items
    if isinstance(model, NeuralModel):  # which scores a chunk at a time
        size = min(size, model.chunk_items)
    at_most = max(1, _SCORE_BYTES // (4 * size))
    for run in fill(lengths[order], _BATCH_EVENTS):
        for start in range(run.start, run.stop, at_most):
            yield own[order[start : min(start + at_most, run.stop)]]
