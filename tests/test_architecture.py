"""The house has floors: a room imports only from rooms below it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
FLOORS = [
    {"_version", "errors"},
    {"files", "extras", "config", "progress", "machine", "amount", "processes"},
    {"sharing"},
    {"ops", "data", "launch"},  # none knows another
    {"nn", "items", "losses", "frames"},
    {"models", "asked"},
    {"retrieve", "evaluate"},
    {"train"},
    {"recommender"},
    {"demo", "bench", "compare", "serve", "load"},
    {"cli"},
    {"__init__", "__main__"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted((SOURCE / "hydrarec").rglob("*.py"))
BENCHMARKS = sorted((SOURCE.parent / "benchmarks").rglob("*.py"))


def room_of(module: str) -> str:
    """``hydrarec.data.store`` -> ``data``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name for name in names if (SOURCE / Path(*name.split("."))).with_suffix(".py").exists())


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_imports_go_down(path):
    module = module_of(path)
    room = room_of(module)
    if room in ("__init__", "__main__"):
        return
    for name in imported(path):
        if not name.startswith("hydrarec.") or room_of(name) == room:
            continue
        assert FLOOR[room_of(name)] < FLOOR[room], f"{module} imports {name}: {room_of(name)} is not below {room}"


def hydrarec_imports(room: str) -> set[str]:
    files = [path for path in MODULES if room_of(module_of(path)) == room]
    return {name for path in files for name in imported(path) if name.startswith("hydrarec.")}


def test_ops_and_nn_know_nothing_of_files_trainers_or_data_sets():
    assert {room_of(name) for name in hydrarec_imports("ops")} == {"ops"}
    beyond = {name for name in hydrarec_imports("nn") if room_of(name) not in ("nn", "ops")}
    assert beyond <= {"hydrarec.data.batch", "hydrarec.errors"}


def test_data_knows_nothing_of_models():
    assert {room_of(name) for name in hydrarec_imports("data")} <= {
        "data",
        "amount",
        "config",
        "errors",
        "files",
        "progress",
        "sharing",
        "_version",
    }


def test_every_room_has_a_floor():
    assert {room_of(module_of(path)) for path in MODULES} <= set(FLOOR)


def test_pickle_is_nowhere():
    for path in MODULES:
        names = {name.split(".")[0] for name in imported(path)}
        assert not names & {"pickle", "joblib", "dill", "cloudpickle", "shelve"}, path
        text = path.read_text(encoding="utf-8")
        assert "torch.load(" not in text, path
        assert "torch.save(" not in text, path
        assert "allow_pickle=True" not in text, path


def test_frames_of_callers_are_not_imported():
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top = {name.split(".")[0] for node in tree.body for name in _names(node)}
        assert not top & {"pandas", "polars"}, f"{path}: only inside a function"


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


@pytest.mark.parametrize("statement", ["import hydrarec", "import hydrarec.cli"])
def test_importing_is_light(statement):
    code = f"{statement}; import sys; print(sorted({{'torch', 'duckdb', 'pyarrow', 'numpy'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there():
    import hydrarec

    for name in hydrarec.__all__:
        assert getattr(hydrarec, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = hydrarec.nothing


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_benchmarks_use_what_is_there(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hydrarec"):
            exec(compile(ast.Module([node], []), str(path), "exec"))
