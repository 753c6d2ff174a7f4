"""The libraries of the extra ``llm``, imported when first used: together they take seconds.

They are values of no known type here, so that types are checked alike with and without them.
"""

from functools import lru_cache
from typing import Any

from hydrarec.extras import require


@lru_cache(maxsize=1)
def transformers() -> Any:
    """Models and tokenizers; without bars and reports of its own."""
    library = _library("transformers")
    library.utils.logging.set_verbosity_error()
    library.utils.logging.disable_progress_bar()
    return library


def tokenizers() -> Any:
    return _library("tokenizers")


def peft() -> Any:
    """Low-rank adapters."""
    return _library("peft")


def hub() -> Any:
    """Downloads, and what has been downloaded."""
    return _library("huggingface_hub")


def _library(name: str) -> Any:
    return require(name, "llm", "item text through a language model needs")
