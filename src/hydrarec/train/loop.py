"""The training loop."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hydrarec import processes
from hydrarec.data.batch import Batch
from hydrarec.data.store import Dataset
from hydrarec.data.windows import EpochBatches, Part, Windows
from hydrarec.errors import HydrarecError
from hydrarec.evaluate.metrics import SELECTION_METRIC
from hydrarec.items.mapped import MappedTable
from hydrarec.items.text.tuning import Tuning
from hydrarec.losses.config import Loss
from hydrarec.models.neural import NeuralModel
from hydrarec.models.recurrent import RecurrentModel
from hydrarec.nn.state import EncoderState
from hydrarec.train.checkpoint import Position, best_table, load_checkpoint, save_checkpoint
from hydrarec.train.config import TrainConfig
from hydrarec.train.encode import encoder
from hydrarec.train.gradients import clip, sum_gradients
from hydrarec.train.log import Log
from hydrarec.train.memory import Memory
from hydrarec.train.optimiser import adamw, learning_rate, rowwise
from hydrarec.train.windows import training_windows

Validate = Callable[[NeuralModel], dict[str, Any]]  # what is logged of the model on the validation split
Report = Callable[[int, str], None]  # (events of the step, a line of figures)

_SHOWN = 4  # domains whose figure progress shows


class Fit:
    """One training: the model, its optimiser, where it stands, and the best weights so far.

    The caller seeds torch before it builds the model. With ``checkpoints``, training goes on from the newest one.
    ``validate`` gives metrics by name, and may give ``domains``, the same by domain. ``tuning`` trains a language model
    along. ``position`` counts what was done before the first step.

    Several processes share each batch, and hold the same model after each step. The first one writes.
    """

    def __init__(
        self,
        model: NeuralModel,
        config: TrainConfig,
        loss: Loss,
        *,
        validate: Validate | None = None,
        checkpoints: Path | None = None,
        log: Log | None = None,
        report: Report = lambda events, text: None,
        tuning: Tuning | None = None,
        position: Position | None = None,
    ) -> None:
        self.model, self.config, self.loss = model, config, loss
        self.validate, self.checkpoints, self.report = validate, checkpoints, report
        self.log = log if log and processes.is_first() else Log(None)
        self.encode, self.tuning = encoder(model, config), tuning
        self.optimiser = adamw(model, config, tuning.config.lr if tuning else None)
        self.rows = rowwise(model)
        self.position = position or Position()
        self.best: dict[str, Tensor] = {}
        self.memory: Memory | None = None  # where windows go on from each other
        self._remembered: EncoderState | None = None  # what a checkpoint had of it
        self.validated: dict[str, Any] = {}  # the last validation
        if checkpoints and (found := load_checkpoint(checkpoints, model, self.optimiser)):
            self.position, self.best, self._remembered = found
        self.log.resume_at(self.position.epoch)
        self._began = time.monotonic() - self.position.seconds
        self._began_cpu = time.process_time() - self.position.cpu_seconds
        self._saved = time.monotonic()

    def run(self, dataset: Dataset, train_ends: np.ndarray, fresh: np.ndarray | None = None) -> Position:
        """Train; the model ends with its best weights on validation, or the last where nothing validates.

        Args:
            train_ends: (U,) int64, where the training part of each history ends.
            fresh: (U,) int64, how many events at that end are to be learned; None: all.

        Raises:
            HydrarecError: the loss is not finite; the last checkpoint stays.
            InputError: no history has two training events.
        """
        mixture = training_windows(dataset, train_ends, self.config, fresh)
        if self.config.windows == "carried" and isinstance(self.model, RecurrentModel):
            self.memory = Memory(self.model, mixture.epoch(0), self._remembered)
        while self.position.epoch < self.config.epochs and not self._exhausted():
            mean_loss = self._epoch(dataset, mixture.epoch(self.position.epoch))
            entry = {"step": self.position.step, "epoch": self.position.epoch, "loss": mean_loss}
            entry |= self._validation()
            self.report(0, self._figures(mean_loss))
            self._tick()
            spent = {"seconds": self.position.seconds, "cpu_seconds": self.position.cpu_seconds}
            self.log.write(entry | {name: round(value, 2) for name, value in spent.items()})
            self._save()
        if self.best:
            self.model.load_state_dict(self.best)
            if isinstance(self.model.items, MappedTable):
                self.model.items.restore(self._best_table(self.model.items))
        elif self.tuning:
            self.tuning.refresh()
        self.model.eval()
        return self.position

    def _epoch(self, dataset: Dataset, source: Windows) -> float:
        """Run what is left of the epoch; return its mean loss."""
        position, config = self.position, self.config
        rank, world = processes.rank(), processes.world()
        batches = EpochBatches(
            dataset, source, config.batch_events, config.seed, position.epoch, rank=rank, world=world
        )
        self.model.train()
        for batch in batches.start_at(position.batch):
            done = (position.epoch + (position.batch + 0.5) / len(batches)) / config.epochs  # the middle of the step
            part = batches.part(position.batch)
            among = None if world == 1 else torch.from_numpy(batches.targets(position.batch))
            value = self._step(batch, part, learning_rate(config, done), among)
            position.batch += 1
            position.step += 1
            position.loss_sum += value
            position.events += part.events
            self._tick()
            self.report(part.events, self._figures(position.loss_sum / position.batch))
            if self._due():
                self._save()
        mean_loss = position.loss_sum / len(batches)
        position.epoch, position.batch, position.loss_sum = position.epoch + 1, 0, 0.0
        return mean_loss

    def _step(self, batch: Batch, part: Part, rate: float, among: Tensor | None = None) -> float:
        """One optimiser step on the batch of which this process has ``part``; return the loss of the whole.

        Args:
            among: targets of the whole batch, where others have parts of it.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        self.rows.lr = rate * self.config.row_lr / self.config.lr
        device = next(self.model.parameters()).device
        batch = batch.to(device)
        if self.tuning:
            self.tuning.before(torch.cat([batch.items, batch.columns["targets"]]))
        among = None if among is None else among.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            with processes.own_randomness(self.config.seed, self.position.step):
                hidden, after = self.encode(batch, self.memory.before(part.chosen) if self.memory else None)
            targets = batch.columns["targets"]
            loss = self.loss(self.model.queries(hidden), self.model, targets, self.model.scale, among) * part.weight
        if self.memory and after is not None:
            self.memory.keep(part.everyone, _of_all(after, part))
        loss.backward()
        value = sum_gradients(self.model, self.rows, loss)
        self._check_finite("loss", value)
        if self.tuning:
            self.tuning.after(self.position.step)
            self._count_tokens()
        # No clipping is clipping at infinity. A bad gradient must not reach the weights, and so the checkpoint.
        self._check_finite("gradient", clip(self.model, self.rows, self.config.clip))
        for optimiser in (self.optimiser, self.rows):
            optimiser.step()
            optimiser.zero_grad()
        return value

    def _count_tokens(self) -> None:
        assert self.tuning is not None
        forward, backward = self.tuning.take_counts()
        self.position.tokens_forward += forward
        self.position.tokens_backward += backward

    def _check_finite(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            saved = self.checkpoints is not None and any(self.checkpoints.glob("step-*"))
            kept = f"the last good checkpoint is kept in {self.checkpoints}" if saved else "nothing was saved before"
            raise HydrarecError(f"the {name} became {value} at step {self.position.step + 1}; {kept}; try a lower lr")

    def _validation(self) -> dict[str, Any]:
        """Measure where it is due, and remember the best weights."""
        position, config = self.position, self.config
        due = position.epoch % config.validate_every == 0 or position.epoch == config.epochs
        if not self.validate or not due:
            return {}
        self._tick()
        before = position.seconds
        if self.tuning:
            self.tuning.refresh()
            self._count_tokens()
        metrics: dict[str, Any] = processes.from_first(self.validate(self.model.eval()))  # so that all decide alike
        self._tick()
        position.validating += position.seconds - before
        self.validated = metrics
        if metrics[SELECTION_METRIC] > position.best:
            position.best, position.best_epoch, position.stale = metrics[SELECTION_METRIC], position.epoch, 0
            position.best_seconds, position.best_cpu_seconds = position.seconds, position.cpu_seconds
            position.best_events = position.events
            self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
            if isinstance(self.model.items, MappedTable):
                self.model.items.snapshot(self._best_table(self.model.items), overwrite=True)
        else:
            position.stale += 1
        return metrics

    def _best_table(self, table: MappedTable) -> Path:
        return best_table(self.checkpoints or table.folder.parent, self.position)

    def _figures(self, mean_loss: float) -> str:
        """What progress shows: the loss, the last validation figure, the best where that was another, and domains'."""
        figures, last = [f"loss {mean_loss:.3f}"], self.validated.get(SELECTION_METRIC)
        if last is not None:
            figures.append(f"{SELECTION_METRIC} {last:.4f}")
        if self.best and self.position.best != last:
            figures.append(f"best {self.position.best:.4f}")
        if domains := self.validated.get("domains"):
            figures.append(_of_domains(domains))
        return "  ".join(figures)

    def _tick(self) -> None:
        self.position.seconds = time.monotonic() - self._began
        self.position.cpu_seconds = time.process_time() - self._began_cpu

    def _exhausted(self) -> bool:
        return bool(self.config.patience) and self.position.stale >= self.config.patience

    def _due(self) -> bool:
        due = time.monotonic() - self._saved > self.config.checkpoint_seconds
        return bool(processes.from_first(due)) if self.model.items.sharded else due

    def _save(self) -> None:
        if self.checkpoints and (processes.is_first() or self.model.items.sharded):
            states = self.memory.states if self.memory else None
            save_checkpoint(self.checkpoints, self.model, self.optimiser, self.best, self.position, states)
        self._saved = time.monotonic()


def _of_all(after: EncoderState, part: Part) -> EncoderState:
    """The states after all windows of a batch, of which this process has those of its part."""
    own = after.detach().select(slice(part.own.stop - part.own.start)).tensors()
    return EncoderState(**{name: torch.cat(processes.gather(value)) for name, value in own.items()})


def _of_domains(domains: dict[str, dict[str, float]]) -> str:
    shown = [f"{name} {metrics[SELECTION_METRIC]:.4f}" for name, metrics in domains.items()][:_SHOWN]
    return ", ".join([*shown, *(["..."] if len(domains) > _SHOWN else [])])
