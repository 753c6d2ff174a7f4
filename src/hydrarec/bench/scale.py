"""How large the measurements are and how long they may take."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The sizes that the names of the figures speak of; tests shrink them.

    Attributes:
        narrow: width d of ``train_d64`` and of everything that names no width.
        wide: width d of ``train_d256``.
        length: events of a training window.
        batch: windows of a training step at the narrow width.
        wide_batch: windows of a training step at the wide width.
        pool: windows of real lengths that one measurement of packing goes through, in batches of ``batch``.
        short_history, long_history: events of the two histories whose cost per event is compared.
        rival_histories: events of the histories that Hydra and SASRec are compared on.
        threads_history: events of the history that one and two threads are compared on.
        curve: events of the histories that the plot of cost against length has.
        curve_events: events of a training step of that plot, where one history has fewer.
        few, many: events that a user's state has seen before the steps that are compared.
        users: batch of the steps per second.
        cached_history: events of the history that the scan alone goes through; with gradients it fits in one megabyte.
        catalogs: items that the loss is measured over; the figure is of the last.
        gemm: rows and columns of the matrices of the ceiling.
        rounds: rounds of a measurement, at least, where the limit allows.
        seconds: how long a measurement goes on after that.
        limit: seconds that a measurement may take; it ends before the round that would exceed them.
    """

    narrow: int = 64
    wide: int = 256
    length: int = 200
    batch: int = 128
    wide_batch: int = 32
    pool: int = 512
    short_history: int = 1024
    long_history: int = 65_536
    rival_histories: tuple[int, int] = (8192, 32_768)
    threads_history: int = 32_768
    curve: tuple[int, ...] = (64, 256, 1024, 4096, 16_384, 65_536)
    curve_events: int = 8192
    few: int = 10
    many: int = 50_000
    users: int = 1024
    cached_history: int = 256
    catalogs: tuple[int, ...] = (3_706, 12_086, 41_240)
    gemm: int = 1024
    rounds: int = 7
    seconds: float = 12
    limit: float = 32
