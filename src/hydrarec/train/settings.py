"""All settings of a run, resolved: defaults, then the recipe, then the command line."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from hydrarec.config import build, override, read_recipe
from hydrarec.data.protocol import Protocol
from hydrarec.errors import InputError
from hydrarec.items.config import ItemsConfig
from hydrarec.losses.config import LossConfig
from hydrarec.models.registry import model_classes
from hydrarec.train.config import TrainConfig
from hydrarec.train.start import StartConfig

# The class of each section but [model], whose class follows from the model's name.
_CLASSES: dict[str, type[Any]] = {"loss": LossConfig, "train": TrainConfig, "items": ItemsConfig, "start": StartConfig}
SECTIONS = ("model", *_CLASSES)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is stored in ``config.json``.

    Attributes:
        name: the model's name in the registry.
        model: its configuration.
        loss: of neural models.
        train: of neural models; ``max_len`` and ``seed`` matter to all.
        items: what the item vectors of neural models are made of.
        start: the trained run that a training starts from.
    """

    name: str
    model: Any
    loss: LossConfig
    train: TrainConfig
    items: ItemsConfig = field(default_factory=ItemsConfig)
    start: StartConfig = field(default_factory=StartConfig)

    def __post_init__(self) -> None:
        if self.items.storage in ("mapped", "sharded") and self.loss.kind == "softmax":
            raise InputError(
                f"loss.kind=softmax scores the whole catalog in every step, and items.storage={self.items.storage} is "
                "for what memory does not hold; take loss.kind=sampled, or another items.storage"
            )
        if self.items.storage == "sharded" and self.train.recompute:
            raise InputError(
                "train.recompute and items.storage=sharded do not go together: all processes must read a sharded table "
                "at the same moment, and recomputing reads it again in each at a moment of its own; "
                "leave train.recompute out, or take another items.storage"
            )

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": {"name": self.name, **asdict(self.model)},
            **{section: asdict(getattr(self, section)) for section in _CLASSES},
        }

    @classmethod
    def from_dict(cls, sections: dict[str, dict[str, Any]], where: str) -> Self:
        """Build from sections ``model`` (with ``name``), ``loss``, ``train`` ...; or their defaults.

        Raises:
            InputError: an unknown section or key, or a value that does not fit.
        """
        unknown = set(sections) - set(SECTIONS)
        if unknown:
            known = ", ".join(f"[{name}]" for name in SECTIONS)
            raise InputError(f"{where}: unknown section [{sorted(unknown)[0]}]; there are {known}")
        model = dict(sections.get("model", {}))
        name = str(model.pop("name", "hydra"))
        config_class, _ = model_classes(name)
        return cls(
            name=name,
            model=build(config_class, model, "model"),
            **{section: build(kind, sections.get(section, {}), section) for section, kind in _CLASSES.items()},
        )


def section_classes(model: str) -> dict[str, type[Any]]:
    """The class of each section of a ``model``'s settings, by which ``override`` knows a bare name."""
    return {"model": model_classes(model)[0], **_CLASSES}


def resolve(
    *, model: str | None = None, recipe: Path | None = None, overrides: Sequence[str] = (), seed: int | None = None
) -> tuple[Settings, dict[str, Any]]:
    """Settings from a recipe file, ``section.key=value`` overrides, and what the command line names itself.

    Returns:
        The settings, and the fields of the protocol that the recipe or an override names.
    """
    sections: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    where = "settings"
    if recipe:
        where = str(recipe)
        sections |= read_recipe(recipe, (*SECTIONS, "protocol"))
    if model:
        # Another model than the recipe's shares none of its fields.
        same = sections["model"].get("name", "hydra") == model
        sections["model"] = {**(sections["model"] if same else {}), "name": model}
    classes = section_classes(str(sections["model"].get("name", "hydra")))
    sections = override(sections, overrides, {**classes, "protocol": Protocol})
    protocol = sections.pop("protocol", {})
    settings = Settings.from_dict(sections, where)
    settings = replace(settings, model=_in_window(settings.model, sections["model"], settings.train.max_len))
    if seed is not None:
        settings = replace(settings, train=replace(settings.train, seed=seed))
    return settings, protocol


def _in_window(model: Any, given: Mapping[str, Any], window: int) -> Any:
    """The model's settings with a table of positions for a window of so many events, where it has one not ``given``.

    Raises:
        InputError: the model has a table of positions and nothing says how long.
    """
    if not hasattr(model, "max_len") or "max_len" in given:
        return model
    if not window:
        raise InputError(
            "train.max_len=0 reads whole histories, and this model has a table of positions: "
            "give model.max_len, the events of the longest history"
        )
    return replace(model, max_len=window)


def choose_protocol(stored: Protocol, name: str | None, fields: dict[str, Any]) -> Protocol:
    """The data set's protocol, changed by ``fields`` (of a recipe or the command line).

    Where another split is named, everything else is as that name usually has it.
    """
    split: Any = name or fields.get("split", stored.split)
    fields = {key: value for key, value in fields.items() if key != "split"}
    if split == stored.split:
        return Protocol.from_dict({**stored.to_dict(), **fields})
    return Protocol.named(split, **fields)
