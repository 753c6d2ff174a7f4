"""The settings of training."""

from dataclasses import dataclass
from typing import Literal

from hydrarec.data.windows import WindowChoice
from hydrarec.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a neural model is fitted.

    Attributes:
        epochs: passes over the training windows, at most.
        batch_events: events of one packed batch.
        max_len: events of a window; 0 is the whole history.
        windows: train on the ``last`` window of a history, on ``all``, or on all with the state ``carried`` from each
            to the next (without its gradient: truncated back-propagation), as it was when the one before was last
            trained.
        domain_power: where the data has domains, how far the share of each in an epoch follows its share of the data:
            as n ** power of its n training events. 1 is the data as it is, 0 shows all alike (``data/mixture.py``).
            Without effect on ``carried`` windows.
        recompute: events of a history whose activations are held at a time; those of longer windows are computed
            again in the backward, which takes less memory and a third more time. 0 holds all.
        lr: highest learning rate of AdamW.
        row_lr: highest learning rate of rowwise Adagrad, which trains every ``items.storage`` but ``full``.
        betas: decay rates of AdamW's two moments.
        weight_decay: on matrices only: never on norms, biases, embeddings and state parameters.
        warmup: share of training in which the rate rises from zero.
        schedule: ``cosine`` falls to zero, ``constant`` stays.
        clip: largest norm of the gradient; 0 does not clip.
        precision: ``bfloat16`` runs matrix products in half precision (autocast).
        validate_every: epochs between validations.
        patience: validations without a better NDCG@10 before training stops; 0 never stops.
        checkpoint_seconds: time between checkpoints inside an epoch; each epoch ends with one.
        seed: governs initial values, order of batches, dropout and negatives.
    """

    epochs: int = 50
    batch_events: int = 4096
    max_len: int = 200
    windows: WindowChoice = "all"
    domain_power: float = 0.5
    recompute: int = 0
    lr: float = 2e-3
    row_lr: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    warmup: float = 0.02
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: float = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    validate_every: int = 1
    patience: int = 5
    checkpoint_seconds: float = 120.0
    seed: int = 1

    @property
    def reads(self) -> int:
        """Events of a history that a request reads, the last ones, as training did; 0 is all."""
        return 0 if self.windows == "carried" else self.max_len

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_events < 1 or self.validate_every < 1:
            raise InputError("epochs, batch_events and validate_every must be at least 1")
        if self.windows == "carried" and not self.max_len:
            raise InputError("train.windows=carried needs windows: give train.max_len, or train.windows=all")
        for name in ("max_len", "recompute", "patience", "clip", "weight_decay", "seed"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} must not be negative, not {getattr(self, name)}")
        for name in ("lr", "row_lr"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be positive, not {getattr(self, name)}")
        for holds, said in (
            (all(0 <= beta < 1 for beta in self.betas), f"betas must lie in [0, 1), not {self.betas}"),
            (0 <= self.domain_power <= 1, f"domain_power must lie between 0 and 1, not {self.domain_power}"),
            (0 <= self.warmup < 1, f"warmup is a share of training in [0, 1), not {self.warmup}"),
            (self.seed < 2**63, f"seed must be below 2**63, not {self.seed}"),
        ):
            if not holds:
                raise InputError(said)
