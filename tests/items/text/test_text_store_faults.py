"""Tokenising that is ended at any moment goes on from the last whole batch, and ends as if nothing had happened."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from language_models import item_tokenizer, needs_llm

from hydrarec.errors import HydrarecError, InputError
from hydrarec.items.text import store as store_module
from hydrarec.items.text.store import TextStore

pytestmark = needs_llm
FILES = ("tokens.bin", "ends.bin", "keys.bin")  # in the order in which they are written
TEXTS = [f"garden chair number {number}" + " and more" * (number % 5) for number in range(23)]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(store_module, "BATCH", 4)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # slow, and no machine loses power here


def contents(folder):
    return [(folder / name).read_bytes() if (folder / name).exists() else b"" for name in FILES]


def replace_contents(folder, parts):
    for name, part in zip(FILES, parts, strict=True):
        (folder / name).write_bytes(part)


@pytest.fixture(scope="module")
def states(words, tmp_path_factory):
    """The files after 0, 4, 8 ... texts, one after the other."""
    folder = tmp_path_factory.mktemp("states")
    store = TextStore(folder, item_tokenizer(words))
    found = [[b"", b"", b""]]
    for first in range(0, len(TEXTS), 4):
        store.add(TEXTS[first : first + 4])
        found.append(contents(folder))
    return found


def make_whole(folder, tokenizer, states):
    """Go on, and compare with what was never ended."""
    asked = []

    def counted(texts):
        asked.extend(texts)
        return tokenizer(texts)

    store = TextStore(folder, tokenizer)
    there = len(store)
    counted.identity, counted.characters = tokenizer.identity, tokenizer.characters
    store.tokenizer = counted
    assert store.add(TEXTS).tolist() == list(range(len(TEXTS)))
    assert asked == TEXTS[there:]
    assert contents(folder) == states[-1]
    return there


@settings(max_examples=60)
@given(batch=st.integers(0, 5), share=st.floats(0, 1))
def test_death_after_any_byte_of_a_batch(words, states, tmp_path_factory, batch, share):
    folder, tokenizer = tmp_path_factory.mktemp("dead"), item_tokenizer(words)
    TextStore(folder, tokenizer).add([])
    TextStore(folder, tokenizer).entries.repair()  # the note of the format, which comes first
    before, after = states[batch], states[batch + 1]
    left = round(share * sum(len(new) - len(old) for old, new in zip(before, after, strict=True)))
    parts = []
    for old, new in zip(before, after, strict=True):
        parts.append(new[: min(len(new), len(old) + left)])
        left -= len(parts[-1]) - len(old)
    replace_contents(folder, parts)
    there = make_whole(folder, tokenizer, states)
    assert 4 * batch <= there <= min(4 * batch + 4, len(TEXTS))


@settings(max_examples=60)
@given(name=st.sampled_from(FILES), share=st.floats(0, 1, exclude_max=True))
def test_a_file_that_was_cut_off_is_cut_back_to_what_is_whole(words, states, tmp_path_factory, name, share):
    folder, tokenizer = tmp_path_factory.mktemp("cut"), item_tokenizer(words)
    TextStore(folder, tokenizer).add(TEXTS)
    size = int(share * (folder / name).stat().st_size)
    os.truncate(folder / name, size)
    there = make_whole(folder, tokenizer, states)
    if name != "tokens.bin":
        assert there == size // (8 if name == "ends.bin" else 16)
    assert there < len(TEXTS)


def test_ends_that_do_not_ascend(words, tmp_path):
    tokenizer = item_tokenizer(words)
    TextStore(tmp_path, tokenizer).add(TEXTS)
    ends = np.fromfile(tmp_path / "ends.bin", "<i8")
    for place, wrong in ((0, 0), (5, ends[4]), (5, 0), (22, -1)):
        damaged = ends.copy()
        damaged[place] = wrong
        damaged.tofile(tmp_path / "ends.bin")
        with pytest.raises(InputError, match=r"ends\.bin is damaged; remove the folder"):
            TextStore(tmp_path, tokenizer)


def test_an_interrupt_loses_the_batch_at_most(words, states, tmp_path):
    tokenizer = item_tokenizer(words)
    calls = []

    def interrupted(texts):
        calls.append(texts)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return tokenizer(texts)

    interrupted.identity, interrupted.characters = tokenizer.identity, tokenizer.characters
    store = TextStore(tmp_path, interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.add(TEXTS)
    assert len(store) == 12
    assert store.lookup(TEXTS).tolist() == [*range(12), *[-1] * 11]
    assert make_whole(tmp_path, tokenizer, states) == 12


@pytest.mark.parametrize("file", FILES)
def test_a_full_disk(file, words, states, tmp_path, monkeypatch):
    tokenizer = item_tokenizer(words)
    store = TextStore(tmp_path, tokenizer)
    store.add(TEXTS[:8])

    def full(descriptor):
        if os.path.samestat(os.fstat(descriptor), (tmp_path / file).stat()):
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(HydrarecError, match=rf"cannot write .*{file}: No space left on device; nothing was lost"):
            store.add(TEXTS)
    assert store.lookup(TEXTS[:8]).tolist() == list(range(8))
    assert make_whole(tmp_path, tokenizer, states) in (8, 12)


CHILD = """
import os, sys
from tokenizers import Tokenizer
from hydrarec.items.text.config import TextConfig
from hydrarec.items.text.store import TextStore
from hydrarec.items.text.tokenizer import ItemTokenizer

class Counted(ItemTokenizer):
    def __call__(self, texts):
        os.read(0, 1)  # until it may
        made = super().__call__(texts)
        os.write(1, b"%d\\n" % len(texts))
        return made

tokenizer = Counted(Tokenizer.from_file(sys.argv[1]), TextConfig(model="tiny"))
TextStore(sys.argv[2], tokenizer).add([f"text {number}" for number in range(int(sys.argv[3]))])
"""


def test_killed_again_and_again(words, tmp_path):
    """Real processes and SIGKILL: what is there is whole, no more than a batch is done twice."""
    n, folder, batch = 40_000, tmp_path / "texts", 1024
    words.save(str(tmp_path / "words.json"))
    tokenizer = item_tokenizer(words)
    command = [sys.executable, "-c", CHILD, str(tmp_path / "words.json"), str(folder), str(n)]
    there = kills = 0
    while there < n:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            # A few batches more than are waited for: however late the kill comes, there is something left to do.
            process.stdin.write(b"." * (10 + kills if kills < 3 else n))
            process.stdin.flush()
            if kills < 3:
                wait_for(folder / "keys.bin", (there + (7 + kills) * batch) * 16)
                time.sleep(kills * 7e-3)
                process.send_signal(signal.SIGKILL)
            assert process.stdout is not None
            tokenised = sum(map(int, process.stdout.read().split()))
        assert process.returncode == (-signal.SIGKILL if kills < 3 else 0)
        kills += 1
        before, there = there, len(TextStore(folder, tokenizer))
        assert 0 <= tokenised - (there - before) <= (batch if kills <= 3 else 0)
    assert kills == 4
    store = TextStore(folder, tokenizer)
    texts = [f"text {number}" for number in range(n)]
    rows = store.lookup(texts)
    assert rows.tolist() == list(range(n))
    for kept, made in zip(store.tokens(rows), tokenizer(texts), strict=True):
        assert np.array_equal(kept, made)


def wait_for(path: Path, size: int) -> None:
    while not path.exists() or path.stat().st_size < size:
        time.sleep(1e-3)
