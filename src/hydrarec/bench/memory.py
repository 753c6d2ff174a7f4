"""Memory that a training step on a long history takes beyond its input and the parameters."""

from dataclasses import dataclass
from pathlib import Path

from hydrarec.bench.apart import apart
from hydrarec.bench.measure import Timing
from hydrarec.bench.rows import Measured, row
from hydrarec.bench.scale import Scale
from hydrarec.bench.training import training
from hydrarec.machine import peak_memory_bytes

LAYERS = 2


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes of the process before a step, and at most during it."""

    before: int
    peak: int
    seconds: float
    cpu_seconds: float


def bytes_per_event_and_layer(scale: Scale) -> Measured:
    """In a new process: memory that an earlier step has given back would hide what this one takes."""
    found = Footprint(**apart("hydrarec.bench.memory:footprint", scale))
    extra = found.peak - found.before
    note = f"peak {extra / 2**20:,.0f} MiB above {found.before / 2**20:,.0f}"
    subject = training("Hydra", [[scale.long_history]], scale.narrow, note=note)
    timing = Timing((found.seconds,), (found.cpu_seconds,))
    return Measured(extra / scale.long_history / LAYERS, [row("Hydra", subject, timing)])


def footprint(scale: Scale) -> Footprint:
    """What one step takes. A step on a short history came before it and loaded what is loaded once."""
    import time

    training("Hydra", [[8]], scale.narrow).variant.run()
    subject = training("Hydra", [[scale.long_history]], scale.narrow)
    before = _status("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    subject.variant.run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Footprint(before=before, peak=_status("VmHWM"), seconds=wall, cpu_seconds=cpu)


def _status(field: str) -> int:
    """Bytes, as Linux counts them for this program; its ``getrusage`` counts the parent's before ``exec`` as well."""
    status = Path("/proc/self/status")
    if not status.exists():
        return peak_memory_bytes()
    line = next(line for line in status.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
