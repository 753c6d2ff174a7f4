"""What a training took, in work that no machine changes: tokens, floating point operations, parameters."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from torch import nn

from hydrarec.data.store import Dataset
from hydrarec.items.rows import RowTable
from hydrarec.items.sharded import ShardedTable
from hydrarec.items.text.items import TextItems
from hydrarec.items.text.tuning import Tuning
from hydrarec.losses.config import LossConfig
from hydrarec.models.neural import NeuralModel
from hydrarec.train.checkpoint import Position


@dataclass(frozen=True, kw_only=True)
class Work:
    """Operations, a multiplication and an addition each counted, of a training's parts.

    A product of a vector with a matrix of n numbers is 2 n forward and 2 n backward, and as much again where the matrix
    learns. What attention and scans do between events, what norms and activations do, and padding are left out; of a
    language model, so is attention, little on texts of some tens of tokens.

    Attributes:
        event: of the sequence layers and the scores of an event's candidates, forward and backward.
        step: of the map of the text vectors of all items.
        token_forward, token_backward: of the layers of the language model that are run for each token that is read.
        once: of its lower layers, where they read every text once.
    """

    event: float
    step: float
    token_forward: float
    token_backward: float
    once: float

    @classmethod
    def of(
        cls,
        model: NeuralModel,
        dataset: Dataset,
        counts: np.ndarray,
        sets: np.ndarray | None,
        tuning: Tuning | None,
        loss: LossConfig | None = None,
    ) -> Self:
        """The work of training ``model``.

        Args:
            counts: (V,) training events of each item.
            sets: (V,) the set of items that each is told from; None: all.
            loss: None: over all items of the set.
        """
        d = model.config.d_model
        candidates = float(dataset.n_items)
        if sets is not None:
            sizes = np.bincount(sets)[sets]
            candidates = float((sizes * counts).sum() / max(counts.sum(), 1))
        if loss is not None and loss.kind != "softmax":
            candidates = loss.negatives + 1
        scores = d * candidates
        layers = model.parameter_counts()["encoder"]
        learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
        learning -= sum(p.numel() for p in model.items.parameters() if p.requires_grad)
        items, read, learned, once, live = model.items, 0, 0, 0, False
        if tuning is not None:
            read, learned = tuning.parameters["read"], tuning.parameters["learning"]
            once, live = tuning.parameters["lower"] * tuning.tokens_of_all, tuning.learns
        parameters = list(items.parameters())  # rows that a rowwise optimiser trains are none of them
        learn_items = items.n_learned > sum(p.numel() for p in parameters) or any(p.requires_grad for p in parameters)
        step = 0
        if isinstance(items, TextItems):
            mapped = items.project.weight.numel() * len(items.vectors)
            step = 2 * mapped * (1 + items.project.weight.requires_grad + live)
        return cls(
            event=4 * (layers + scores) + 2 * (learning + learn_items * scores),
            step=step,
            token_forward=2 * read,
            token_backward=2 * read + 2 * min(learned, read),
            once=2 * once,
        )


def flops(work: Work, position: Position, model: nn.Module) -> dict[str, Any]:
    """``cost`` of a run: tokens read, operations, parameters that learned and that are kept.

    Its seconds and its peak memory stand beside it. Vectors of a frozen language model are no training.
    """
    forward, backward = position.tokens_forward, position.tokens_backward
    tables = [(name, module) for name, module in model.named_modules() if isinstance(module, RowTable)]
    items: Any = getattr(model, "items", None)
    sharded = isinstance(items, ShardedTable)  # of which the only table is this process's part
    rows = items.n_learned if sharded else sum(table.n_learned for _, table in tables)
    stored = {name: value.numel() for name, value in model.state_dict().items()}
    for name, _ in tables:
        stored = {key: n for key, n in stored.items() if key.rpartition(".")[0] != name}  # with the optimiser's state
    return {
        "tokens_forward": forward,
        "tokens_backward": backward,
        "flops": work.once * (forward > 0)
        + work.event * position.events
        + work.step * position.step
        + work.token_forward * forward
        + work.token_backward * backward,
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad) + rows,
        "stored_parameters": sum(stored.values()) + rows,
    }
