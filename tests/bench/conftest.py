import pytest

from hydrarec.bench.scale import Scale


@pytest.fixture
def tiny():
    """Everything so small that a measurement takes a blink."""
    return Scale(
        narrow=8,
        wide=16,
        length=12,
        batch=3,
        wide_batch=2,
        pool=8,
        short_history=256,
        long_history=1024,
        rival_histories=(16, 32),
        threads_history=32,
        curve=(4, 16),
        curve_events=16,
        few=2,
        many=9,
        users=4,
        cached_history=70,
        catalogs=(20, 50),
        gemm=16,
        rounds=2,
        seconds=0,
        limit=5,
    )
