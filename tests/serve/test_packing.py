import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrarec.nn.state import EncoderState
from hydrarec.serve.catalog.rows import ItemRows
from hydrarec.serve.packing import StatePacker
from hydrarec.serve.stores.contract import State

ITEMS = [7, "", "ü" * 200, "🐍"]


def random_state(users, scale=1.0):
    number = torch.Generator().manual_seed(users)

    def whole():
        return torch.randint(-5, 2**40, (users,), generator=number)

    def numbers(*shape):
        return torch.randn(users, *shape, generator=number) * scale

    return EncoderState(
        position=whole(),
        conv=numbers(2, 3, 2, 5),
        ssm=numbers(2, 2, 4, 3),
        timed=numbers(2, 0, 0),
        hidden=numbers(7),
        time=whole(),
        waiting=torch.randint(-2, len(ITEMS), (users,), generator=number).clamp(min=-1),
        waiting_time=whole(),
    )


def packer(precision="float32", version="v1", items=ITEMS):
    return StatePacker(random_state(1), ItemRows(items), version=version, precision=precision)


def same(a, b):
    return all(torch.equal(value, b.tensors()[name]) for name, value in a.tensors().items())


@given(st.integers(1, 5), st.sampled_from(["float32", "float16"]))
@settings(max_examples=20)
def test_there_and_back(users, precision):
    state, pack = random_state(users), packer(precision)
    pack.round_(state)
    rows = pack.pack(state)
    assert {len(row.data) for row in rows} == {pack.row_bytes}
    back, places = pack.unpack(rows)
    assert places == list(range(users))
    assert same(state, back)
    assert [row for user in range(users) for row in pack.pack(state.select(slice(user, user + 1)))] == rows
    back.ssm.add_(1)  # may be updated in place


def test_half_precision_rounds_and_never_overflows():
    state = random_state(3, scale=1e5)
    exact = state.clone()
    packer().round_(state)
    assert same(state, exact)
    half = packer("float16")
    half.round_(state)
    assert not same(state, exact)
    assert torch.isfinite(state.ssm).all()
    assert state.ssm.abs().max() == 65_504
    assert torch.equal(state.time, exact.time)
    small = torch.where(exact.ssm.abs() < 60_000, exact.ssm - state.ssm, 0)
    assert small.abs().max() <= 16  # half a place of the last binary digit below 2**16
    assert len(half.pack(state)[0].data) < 0.6 * len(packer().pack(state)[0].data)


@pytest.mark.parametrize("bit", range(0, 8 * 100, 37))
def test_a_flipped_bit_is_noticed_wherever_it_is(bit):
    pack = packer()
    rows = pack.pack(random_state(2))
    data = bytearray(rows[1].data)
    data[bit // 8 * len(data) // 100] ^= 1 << bit % 8
    back, places = pack.unpack([rows[0], State(version="v1", data=bytes(data))])
    assert places == [0]
    assert same(back, random_state(2).select(slice(0, 1)))


def test_states_that_cannot_be_read_are_left_out():
    pack = packer()
    good = pack.pack(random_state(3))
    others = [
        None,
        State(version="v2", data=good[0].data),
        State(version="v1", data=b""),
        State(version="v1", data=good[0].data[:-1]),
        *packer("float16").pack(random_state(1)),
    ]
    back, places = pack.unpack([others[0], good[0], *others[1:], good[1], good[2]])
    assert places == [1, 6, 7]
    assert same(back, random_state(3))
    empty, places = pack.unpack(others)
    assert (len(empty), places, pack.pack(empty)) == (0, [], [])


def test_the_item_that_waits_is_found_wherever_its_row_is():
    state = random_state(4)
    state.waiting[:] = torch.tensor([-1, 0, 3, 2])
    rows = packer().pack(state)
    other = packer(items=["new", *ITEMS[:2], ITEMS[3]])
    back, places = other.unpack(rows)
    assert places == [0, 1, 2]  # the third item is not there any more
    assert back.waiting.tolist() == [-1, 1, 3]
    back.waiting[:] = state.waiting[:3]
    assert same(back, state.select(slice(0, 3)))
