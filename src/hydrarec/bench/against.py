"""Figures that compare training steps: Hydra against rivals, long histories against short ones, two threads and one."""

from collections.abc import Mapping

from hydrarec.bench.apart import apart
from hydrarec.bench.lengths import in_batches, length_buckets, window_lengths
from hydrarec.bench.measure import interleave
from hydrarec.bench.rows import Measured, Row, Subject, rows
from hydrarec.bench.scale import Scale
from hydrarec.bench.training import training


def quotient(subjects: Mapping[str, Subject], over: str, under: str, scale: Scale) -> Measured:
    """Events/s of the subject ``over`` as a multiple of those of ``under``, measured interleaved with all others."""
    found = rows(subjects, interleave({name: subject.variant for name, subject in subjects.items()}, scale))
    return Measured(found[over].events_per_s / found[under].events_per_s, list(found.values()))


def _full(batch: int, length: int, d: int, rivals: tuple[str, ...], scale: Scale) -> Measured:
    """Full rectangles: no history is shorter than the others. The first rival is the one that the value speaks of."""
    subjects = {name: training(name, [[length] * batch], d) for name in ("Hydra", *rivals)}
    return quotient(subjects, "Hydra", rivals[0], scale)


def narrow_vs_sasrec(scale: Scale) -> Measured:
    return _full(scale.batch, scale.length, scale.narrow, ("SASRec", "SASRec published"), scale)


def narrow_vs_hstu(scale: Scale) -> Measured:
    return _full(scale.batch, scale.length, scale.narrow, ("HSTU", "HSTU published"), scale)


def wide_vs_sasrec(scale: Scale) -> Measured:
    return _full(scale.wide_batch, scale.length, scale.wide, ("SASRec", "SASRec published"), scale)


def long_vs_sasrec(scale: Scale, place: int) -> Measured:
    """One history. As published, SASRec differs in the feed-forward part alone, which attention dwarfs: not run."""
    return _full(1, scale.rival_histories[place], scale.narrow, ("SASRec",), scale)


def packed_vs_sasrec(scale: Scale, *, bucketed: bool) -> Measured:
    """Real lengths: Hydra packed, SASRec padded to the length of a window or in four length buckets of batches."""
    lengths, origin = window_lengths(scale.pool, scale.length)
    shape = f"{scale.pool} windows, {origin} lengths"
    plain = in_batches(lengths, scale.batch)
    buckets = [batch for bucket in length_buckets(lengths) for batch in in_batches(bucket, scale.batch)]
    subjects = {"Hydra": training("Hydra", plain, scale.narrow, shape=f"{shape}, packed")}
    for name in ("SASRec", "SASRec published"):
        if bucketed:
            subjects[name] = training(name, buckets, scale.narrow, shape=f"{shape}, 4 buckets")
        else:
            subjects[name] = training(name, plain, scale.narrow, width=scale.length, shape=f"{shape}, padded")
    return quotient(subjects, "Hydra", "SASRec", scale)


def long_over_short(scale: Scale) -> Measured:
    """Cost per event of one long history over that of a short one; on one thread, so that only the work counts."""
    d, long, short = scale.narrow, scale.long_history, scale.short_history
    subjects = {
        f"Hydra, {length:,}": training("Hydra", [[length]], d, threads=1, repeat=max(1, long // length // 4))
        for length in (long, short)
    }
    over, under = subjects
    return quotient(subjects, under, over, scale)  # costs divide the other way round


def two_threads(scale: Scale) -> Measured:
    return _threads([scale.length] * scale.batch, ("Hydra", "SASRec"), scale)


def two_threads_long(scale: Scale) -> Measured:
    return _threads([scale.threads_history], ("Hydra",), scale)


def _threads(lengths: list[int], names: tuple[str, ...], scale: Scale) -> Measured:
    subjects = {
        f"{name}, {count} thread{'s' if count > 1 else ''}": training(name, [lengths], scale.narrow, threads=count)
        for name in names
        for count in (2, 1)
    }
    return quotient(subjects, "Hydra, 2 threads", "Hydra, 1 thread", scale)


def fallback_vs_sasrec(scale: Scale) -> Measured:
    """As ``narrow_vs_sasrec`` in a process that has no compiled kernel."""
    found = apart("hydrarec.bench.against:narrow_vs_sasrec", scale, environment={"HYDRAREC_KERNEL": "0"})
    return Measured(found["value"], [Row(**each) for each in found["rows"]])
