import json
import zlib
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from support import small_config

from hydrarec.data.batch import pack
from hydrarec.errors import InputError
from hydrarec.nn.encoder import HydraEncoder
from hydrarec.nn.state import VERSION, EncoderState, join

FIELDS = ("position", "hidden", "conv", "ssm")


def state_of(*lengths):
    torch.manual_seed(0)
    encoder = HydraEncoder(small_config()).eval()
    with torch.inference_mode():
        return encoder(torch.randn(sum(lengths), 8), pack([np.zeros(length, np.int64) for length in lengths]))[1]


STATE = state_of(3, 0, 40)
BYTES = STATE.to_bytes()
HEADER = 8 + int.from_bytes(BYTES[:8], "little")


def equal(one, other):
    return all(
        getattr(one, name).dtype == getattr(other, name).dtype and torch.equal(getattr(one, name), getattr(other, name))
        for name in FIELDS
    )


def test_bytes_there_and_back():
    assert equal(EncoderState.from_bytes(BYTES), STATE)
    one = STATE.select(torch.tensor([2]))
    assert equal(EncoderState.from_bytes(one.to_bytes()), one)


def test_the_size_does_not_depend_on_the_history():
    sizes = {len(state_of(length).to_bytes()) for length in (0, 1, 50, 3000)}
    assert len(sizes) == 1


@given(st.integers(0, len(BYTES) - 1))
@settings(max_examples=60)
def test_truncated_bytes(end):
    with pytest.raises(InputError, match=r"damaged user state.*rebuild"):
        EncoderState.from_bytes(BYTES[:end])


@given(place=st.one_of(st.integers(0, HEADER - 1), st.integers(0, len(BYTES) - 1)), flipped=st.integers(1, 255))
@settings(max_examples=300)
def test_a_damaged_byte(place, flipped):
    damaged = bytearray(BYTES)
    damaged[place] ^= flipped
    with pytest.raises(InputError, match=r"damaged user state.*rebuild"):
        EncoderState.from_bytes(bytes(damaged))


def sealed(data):
    """With the checksum of what may be damaged or of another kind all the same."""
    return data + zlib.crc32(data).to_bytes(4, "little")


@given(place=st.integers(0, HEADER - 1), value=st.integers(0, 255))
@settings(max_examples=100)
def test_a_wrong_header_behind_a_right_checksum(place, value):
    wrong = bytearray(BYTES[:-4])
    wrong[place] = value
    with suppress(InputError):
        assert len(EncoderState.from_bytes(sealed(bytes(wrong)))) == len(STATE)


@given(st.binary(max_size=200))
@settings(max_examples=60)
def test_bytes_of_something_else(data):
    with pytest.raises(InputError):
        EncoderState.from_bytes(data)


def test_other_versions_and_other_content():
    tensors = {name: getattr(STATE, name) for name in FIELDS}
    for version in ("0", str(int(VERSION) + 1)):
        with pytest.raises(InputError, match=f"version {version}, this is version {VERSION}; rebuild"):
            EncoderState.from_bytes(sealed(save(tensors, metadata={"hydrarec_state": version})))
    with pytest.raises(InputError, match="rebuild"):
        EncoderState.from_bytes(sealed(save(tensors)))
    for other in ({**tensors, "more": torch.zeros(1)}, {"position": STATE.position}):
        with pytest.raises(InputError, match="rebuild"):
            EncoderState.from_bytes(sealed(save(other, metadata={"hydrarec_state": VERSION})))
    header = json.loads(BYTES[8:HEADER])
    assert header["__metadata__"] == {"hydrarec_state": VERSION}


def test_select_and_join():
    parts = [STATE.select(torch.tensor([user])) for user in range(3)]
    assert [len(part) for part in parts] == [1, 1, 1]
    assert equal(join(parts), STATE)
    turned = STATE.select(torch.tensor([2, 0]))
    assert turned.position.tolist() == [40, 3]
    assert equal(join([turned, parts[1]]).select(torch.tensor([1, 2, 0])), STATE)
