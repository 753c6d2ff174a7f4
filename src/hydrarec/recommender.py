"""The user's contract: fit, recommend, observe, save, load, with the caller's own ids in and out."""

import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import torch

from hydrarec.asked import of_histories, of_users
from hydrarec.config import as_overrides
from hydrarec.data.protocol import Protocol, SplitName
from hydrarec.data.reading.times import instant
from hydrarec.data.split import split
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError
from hydrarec.evaluate.evaluate import Evaluation, evaluate
from hydrarec.files import whole_folder
from hydrarec.frames import like
from hydrarec.items.vocabulary import Vocabulary
from hydrarec.machine import usable_device
from hydrarec.models.contract import Model
from hydrarec.models.neural import NeuralModel
from hydrarec.models.recurrent import RecurrentModel
from hydrarec.models.waiting import hidden_states, observe
from hydrarec.nn.state import EncoderState
from hydrarec.progress import Progress, Silent, counter
from hydrarec.retrieve.domain import of_domain
from hydrarec.retrieve.exact import top_k
from hydrarec.retrieve.users import best_items
from hydrarec.sharing import at_rest
from hydrarec.train.add_items import AddedItems, add_items
from hydrarec.train.fit import fit
from hydrarec.train.run import Run, files_of, open_run
from hydrarec.train.train import Resume


class Recommender:
    """A trained model with its catalog.

    ``Recommender.fit(events, out="run")`` trains one, ``Recommender.load("run")`` opens one. Histories and item ids
    are the caller's own; answers are tables with the columns ``user``, ``rank``, ``item``, ``score``.
    """

    def __init__(self, run: Run, *, dataset: Path | None = None, device: str = "cpu") -> None:
        self._dataset_path = dataset
        self.device = device
        self._take(run)

    def _take(self, run: Run) -> None:
        self.run = run
        self.item_table = run.items()
        self.vocabulary = Vocabulary(self.item_table["item"].combine_chunks())
        self.model: Model = run.model()
        if isinstance(self.model, torch.nn.Module):
            self.device = usable_device(self.device)
            self.model.to(self.device)
        else:
            self.device = "cpu"  # models that count stay there
        self._dataset: Dataset | None = None

    @classmethod
    def fit(
        cls,
        source: Any,
        *,
        out: str | Path,
        model: str | None = None,
        recipe: str | Path | None = None,
        settings: Mapping[str, Any] | None = None,
        protocol: SplitName | Protocol | None = None,
        seed: int | None = None,
        resume: Resume = "auto",
        progress: Progress | None = None,
        log: Callable[[str], None] | None = None,
        device: str = "cpu",
        **columns: Any,
    ) -> Self:
        """Train on a table of events and measure on the protocol's test split.

        Args:
            source: a data frame, a file of events, or the folder of a prepared data set (or a ``Dataset``).
            out: the run folder to write.
            model: a name in the registry; ``hydra`` unless the recipe says otherwise.
            recipe: TOML file of settings.
            settings: single settings, for example ``{"train.epochs": 10}`` or ``{"train": {"epochs": 10}}``.
            protocol: how to split and measure; None takes the data set's own (``time`` for a new one).
            resume: go on with an unfinished run (``auto``) or begin again (``never``).
            **columns: ``user``, ``item``, ``time``, ``items``, ``min_user`` ...: see ``hydrarec.prepare``.

        Raises:
            InputError: bad input, or ``out`` holds another run.
        """
        named, fields = (protocol.split, protocol.to_dict()) if isinstance(protocol, Protocol) else (protocol, {})
        run = fit(
            source,
            Path(out),
            model=model,
            recipe=_path(recipe),
            overrides=as_overrides(settings or {}),
            seed=seed,
            protocol=named,
            protocol_fields={key: value for key, value in fields.items() if key != "split"},
            columns=columns,
            resume=resume,
            progress=progress or Silent(),
            log=log,
            device=device,
        )
        return cls(run, device=device)

    @classmethod
    def load(cls, path: str | Path, *, dataset: str | Path | None = None, device: str = "cpu") -> Self:
        """Open a run folder. ``dataset`` says where its data set lies now, if it moved."""
        place = Path(path)
        return at_rest(files_of(place), lambda: cls(open_run(place), dataset=_path(dataset), device=device))

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Copy the run to another folder (checkpoints stay behind)."""
        with whole_folder(Path(path), overwrite=overwrite) as temporary:
            shutil.copytree(
                self.run.path, temporary, dirs_exist_ok=True, ignore=shutil.ignore_patterns("checkpoints", ".*")
            )

    def add_items(
        self, source: Any, *, item: str | None = None, strict: bool = False, progress: Progress | None = None
    ) -> AddedItems:
        """Make new items known by their text, at once and without training, and give known ones the text they now have.

        The run folder changes, and this recommender with it. States of users go on.

        Args:
            source: a file or data frame with an item id, and text columns named as in training.
            item: the id column; None: guessed.
            strict: an item without text is an error.

        Raises:
            InputError: the run knows its items by id alone, or the source is wrong; nothing is changed.
        """
        found = add_items(self.run, source, item=item, strict=strict, progress=progress)
        self._take(open_run(self.run.path))
        return found

    @property
    def dataset(self) -> Dataset:
        """The data set of the run, which knows the users' histories."""
        if self._dataset is None:
            self._dataset = self.run.open_dataset(self._dataset_path)
        return self._dataset

    def evaluate(self, part: Literal["valid", "test"] = "test", *, progress: Progress | None = None) -> Evaluation:
        """Measure again on a part of the split.

        Raises:
            InputError: the protocol has no such part, or the data set is gone.
        """
        if part not in ("valid", "test"):
            raise InputError(f"there is no split {part!r}; choose valid or test")
        if self.run.dataset.get("days"):
            warnings.warn(
                "the run went on with all events of its data: it has been trained on this split", stacklevel=2
            )
        parts = split(self.dataset, self.run.protocol)
        positions = getattr(parts, part)
        if not len(positions):
            raise InputError(f"protocol {self.run.protocol.split} has no {part} split; use --split test")
        with (progress or Silent()).task(part, total=len(positions), unit="targets") as task:
            return evaluate(
                self.model,
                self.dataset,
                positions,
                protocol=self.run.protocol,
                train_ends=parts.train_ends,
                max_len=self.run.settings.train.reads,
                progress=counter(task),
                seed=self.run.settings.train.seed,
                device=self.device,
            )

    def recommend(
        self,
        histories: Any = None,
        *,
        users: Sequence[Any] | None = None,
        states: EncoderState | None = None,
        k: int = 10,
        times: Any = None,
        at: int | str | date | None = None,
        exclude_seen: bool = False,
        candidates: Sequence[Any] | None = None,
        domain: str | None = None,
        strict: bool = False,
        progress: Progress | None = None,
    ) -> Any:
        """The k items most likely to come next, for each history, known user, or state.

        Args:
            histories: lists of item ids (oldest first), or a frame with columns ``user``, ``item`` and, unless it is
                sorted already, ``time``. The users need not be known.
            users: ids of users in the data set, instead of histories; ``"all"`` takes every one that has events.
            states: what ``observe`` gave, instead of histories.
            times: of histories that are lists, in the same shape; seconds since 1970 or dates. Models that read time
                need them, or a frame's ``time``.
            at: request time: seconds since 1970, a date, or a ``datetime`` (UTC where it has no zone). Events of
                ``users``, and of a frame with ``time``, at or after it are not looked at. None: when the last event
                of the data set, or of all that was given, happened.
            exclude_seen: leave out items of the history, however long it is.
            candidates: rank only these item ids.
            domain: rank only items of this domain, where the data has domains; the whole history is read all the same.
            strict: unknown item ids are an error; otherwise they are named in a warning and skipped, or read by
                a shared vector where the model has those (``items.unseen``).

        Returns:
            A table ``user``, ``rank`` (from 1), ``item``, ``score``, best first: an Arrow table, or a frame of the
            kind that was given. Users of plain lists and states are numbered from 0. Fewer than k rows come back only
            if there are fewer than k candidates.

        Raises:
            InputError: none or several of histories, users and states; a user or a domain that is not known; nothing
                known in a history, or in the candidates.
        """
        if sum(given is not None for given in (histories, users, states)) != 1:
            raise InputError("give exactly one of histories, users and states")
        if k < 1:
            raise InputError(f"k is {k}; it must be at least 1")
        moment = None if at is None else instant(at)
        k = min(k, self.model.n_items)
        allowed = None
        if candidates is not None:
            allowed = of_histories(self.vocabulary, [list(candidates)], strict=strict).items
            if not len(allowed):
                raise InputError("the model knows none of the candidates")
        if domain is not None:
            allowed = of_domain(self.item_table, domain, allowed)
        if states is not None:
            if exclude_seen:
                raise InputError("a state does not list the items seen; pass histories to exclude them")
            rows, scores = self._from_states(states, k, allowed, moment)
            return self._table(pa.array(np.arange(len(rows))), rows, scores)
        if users is not None:
            asked = of_users(self.dataset, users, moment)
        else:
            asked = of_histories(
                self.vocabulary, histories, times=times, at=moment, strict=strict, unknown_too=self._reads_unknown
            )
            if len(empty := np.flatnonzero(asked.first == asked.end)):
                raise InputError(
                    f"user {asked.users[empty[0]].as_py()!r} has no event with an item that the model knows"
                )
        with (progress or Silent()).task("recommend", total=len(asked.users), unit="users") as task:
            rows, scores = best_items(
                self.model,
                asked,
                k,
                max_len=self.run.settings.train.reads,
                exclude_seen=exclude_seen,
                candidates=_tensor(allowed),
                device=self.device,
                progress=counter(task),
            )
        return like(histories if users is None else users, self._table(asked.users, rows, scores))

    def titles(self, items: Sequence[Any]) -> list[str]:
        """Titles of items, empty where there is none."""
        if "title" not in self.item_table.column_names:
            return [""] * len(items)
        rows = self.vocabulary.rows(items)
        found = self.item_table["title"].take(pa.array(rows, mask=rows < 0))
        return [title or "" for title in found.to_pylist()]

    def initial_state(self, n_users: int = 1) -> EncoderState:
        """State of users without any event."""
        return self._recurrent().initial_state(n_users)

    @torch.inference_mode()
    def observe(
        self,
        state: EncoderState,
        events: Sequence[Sequence[Any]],
        *,
        times: Sequence[Sequence[Any]] | None = None,
        strict: bool = False,
    ) -> EncoderState:
        """Append events, a list of item ids for each user of ``state``; the cost does not depend on the past.

        Args:
            times: of the events, in the same shape: seconds since 1970 or dates. Models that read time need them.
        """
        if len(events) != len(state):
            raise InputError(f"{len(events)} lists of events for the states of {len(state)} users")
        model = self._recurrent()
        asked = of_histories(self.vocabulary, list(events), times=times, strict=strict, unknown_too=self._reads_unknown)
        if model.sees_request_time and asked.times is None:
            raise InputError("this model reads when events happen; give their times")
        return observe(model, asked.batch().to(self.device), state)

    @property
    def _reads_unknown(self) -> bool:
        return isinstance(self.model, NeuralModel) and self.model.reads_unknown_items

    def _recurrent(self) -> RecurrentModel:
        if not isinstance(self.model, RecurrentModel):
            raise InputError(f"model {self.run.settings.name} keeps no state; only hydra does")
        return self.model

    @torch.inference_mode()
    def _from_states(
        self, states: EncoderState, k: int, allowed: np.ndarray | None, at: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        model = self._recurrent()
        if not bool(((states.position > 0) | (states.waiting >= 0)).all()):
            raise InputError("a state without any event cannot be asked; observe an event first")
        if at is None and model.sees_request_time:
            at = int(states.waiting_time.max())
        asked = torch.full_like(states.position, 0 if at is None else at)
        scores = model.score_hidden(hidden_states(model, states, asked))
        rows, values = top_k(scores, len(states), k, n_items=self.model.n_items, candidates=_tensor(allowed))
        return rows.cpu().numpy(), values.cpu().numpy()

    def _table(self, names: pa.Array, rows: np.ndarray, scores: np.ndarray) -> pa.Table:
        found = rows >= 0
        user, place = np.nonzero(found)
        return pa.table(
            {
                "user": names.take(pa.array(user)),
                "rank": pa.array(place + 1),
                "item": self.vocabulary.ids(rows[found]),
                "score": pa.array(scores[found]),
            }
        )


def _tensor(rows: np.ndarray | None) -> torch.Tensor | None:
    return None if rows is None else torch.from_numpy(rows)


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)
