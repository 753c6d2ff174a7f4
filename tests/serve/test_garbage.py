"""What stays is looked through once; what was let go since is found by the next call."""

import gc
import weakref

import pytest

from hydrarec.serve.garbage import settle


class Ring:
    def __init__(self):
        self.itself = self


@pytest.fixture
def frozen():
    yield
    gc.unfreeze()


def test_what_stays_is_passed_over(frozen):
    ring = Ring()
    settle()
    assert gc.get_freeze_count() > 10_000
    assert not any(each is ring for each in gc.get_objects())


def test_what_was_let_go_is_found_by_the_next_call(frozen):
    ring = Ring()
    found = weakref.ref(ring)
    settle()
    del ring
    gc.collect()
    assert found() is not None
    settle()
    assert found() is None
