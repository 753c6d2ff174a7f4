from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydrarec.config import as_overrides, build, override, read_recipe
from hydrarec.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Inner:
    depth: int = 1


@dataclass(frozen=True, kw_only=True)
class Sample:
    width: int = 64
    lr: float = 1e-3
    share: bool = False
    name: str = "x"
    kind: Literal["z", "none"] = "z"
    mamba: Literal[1, 2] = 2
    cutoffs: tuple[int, ...] = (1, 5)
    pair: tuple[int, str] = (1, "a")
    head: int | None = None
    limit: float | None = None
    mixed: int | str = 0
    folder: Path = Path()
    inner: Inner = field(default_factory=Inner)
    free: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError("width must be at least 1")


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "width": st.integers(1),
            "lr": st.floats(allow_nan=False),
            "share": st.booleans(),
            "name": st.text(),
            "kind": st.sampled_from(["z", "none"]),
            "mamba": st.sampled_from([1, 2]),
            "cutoffs": st.lists(st.integers()).map(tuple),
            "head": st.none() | st.integers(),
        },
    )
)
def test_right_values_arrive_unchanged(mapping):
    assert asdict(build(Sample, mapping, "model")) == {**asdict(Sample()), **mapping}


def test_conversions():
    got = build(
        Sample,
        {
            "lr": 1,
            "width": 1e2,
            "cutoffs": [1, 10],
            "pair": [3, "b"],
            "head": "none",
            "limit": 2,
            "mixed": "a",
            "folder": "/x",
            "inner": {"depth": 3},
            "free": {"a": [1]},
        },
        "model",
    )
    assert got == Sample(
        lr=1.0,
        width=100,
        cutoffs=(1, 10),
        pair=(3, "b"),
        limit=2.0,
        mixed="a",
        folder=Path("/x"),
        inner=Inner(depth=3),
        free={"a": [1]},
    )
    assert isinstance(got.lr, float)
    assert isinstance(got.width, int)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"widht": 3}, r"model has no setting 'widht'; did you mean 'width'\?"),
        ({"qqqq": 3}, "there are width, lr"),
        ({"width": "3"}, "model.width is '3'; it must be a whole number"),
        ({"width": 3.5}, "model.width is 3.5; it must be a whole number"),
        ({"width": float("nan")}, "a whole number"),
        ({"width": float("inf")}, "a whole number"),
        ({"width": True}, "a whole number"),
        ({"lr": "fast"}, "model.lr is 'fast'; it must be a number"),
        ({"lr": False}, "must be a number"),
        ({"share": 1}, "must be true or false"),
        ({"name": 1}, "must be text"),
        ({"kind": "y"}, "model.kind is 'y'; it must be one of 'z', 'none'$"),
        ({"mamba": 3}, "must be one of 1, 2"),
        ({"mamba": True}, "must be one of 1, 2"),
        ({"cutoffs": 5}, "must be a list"),
        ({"cutoffs": [1, "a"]}, r"model.cutoffs\[1\] is 'a'"),
        ({"pair": [1]}, "has 1 entries; it must have 2"),
        ({"head": "many"}, "model.head is 'many'"),
        ({"inner": 3}, "model.inner is 3; it must be a table"),
        ({"inner": {"dept": 3}}, r"model.inner has no setting 'dept'; did you mean 'depth'\?"),
        ({"width": 0}, "model: width must be at least 1"),
    ],
)
def test_wrong_values_are_named(mapping, message):
    with pytest.raises(InputError, match=message):
        build(Sample, mapping, "model")


def test_a_missing_value_without_default():
    @dataclass(frozen=True, kw_only=True)
    class Strict:
        n: int

    with pytest.raises(InputError, match=r"s\.n is missing"):
        build(Strict, {}, "s")


SECTIONS = {"model": Sample, "train": Inner}


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("model.width=128", {"model": {"width": 128}}),
        ("train.lr = 1e-3", {"train": {"lr": 1e-3}}),
        ("kind=none", {"model": {"kind": "none"}}),
        ('name="a=b"', {"model": {"name": "a=b"}}),
        ("name=a b", {"model": {"name": "a b"}}),
        ("share=true", {"model": {"share": True}}),
        ("cutoffs=[1, 2]", {"model": {"cutoffs": [1, 2]}}),
        ("depth=3", {"train": {"depth": 3}}),
        ("model.inner.depth=3", {"model": {"inner": {"depth": 3}}}),
        ("name=1\nx=2", {"model": {"name": "1\nx=2"}}),
        ("name=", {"model": {"name": ""}}),
    ],
)
def test_override(setting, expected):
    assert override({}, [setting], SECTIONS) == expected


def test_override_copies_keeps_the_rest_and_the_last_wins():
    base = {"model": {"width": 1, "lr": 2.0}}
    got = override(base, ["width=3", "model.width=4"], SECTIONS)
    assert got == {"model": {"width": 4, "lr": 2.0}}
    assert base == {"model": {"width": 1, "lr": 2.0}}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("width", "not of the form"),
        ("=3", "not of the form"),
        ("model.=3", "not of the form"),
        ("widht=3", r"no section has a setting 'widht'; did you mean 'width'\?"),
        ("model.width.x=3", "width is a value, not a table"),
    ],
)
def test_bad_settings(setting, message):
    with pytest.raises(InputError, match=message):
        override({"model": {"width": 1}}, [setting], SECTIONS)
    with pytest.raises(InputError, match=r"ambiguous; write a\.depth or b\.depth"):
        override({}, ["depth=1"], {"a": Inner, "b": Inner})


def test_recipe(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('[model]\nname = "hydra"\n[train]\nlr = 1e-3\n')
    assert read_recipe(path, SECTIONS) == {"model": {"name": "hydra"}, "train": {"lr": 1e-3}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[model]\nwidth = \n", r"r\.toml is not valid TOML.*line 2"),
        (b"[modle]\n", r"unknown entry 'modle'; did you mean 'model'\?"),
        (b"model = 3\n", r"model must be a table, \[model\]"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_bad_recipes(tmp_path, content, message):
    path = tmp_path / "r.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_recipe(path, SECTIONS)
    with pytest.raises(InputError, match="does not exist"):
        read_recipe(tmp_path / "none.toml", SECTIONS)
    with pytest.raises(InputError, match="cannot be read"):
        read_recipe(tmp_path, SECTIONS)


def test_python_settings_as_overrides():
    chosen = {"train": {"lr": np.float32(0.5), "windows": "last"}, "model.d_head": None, "model": {"normalize": False}}
    assert override({}, as_overrides(chosen)) == {
        "train": {"lr": 0.5, "windows": "last"},
        "model": {"d_head": "none", "normalize": False},
    }
