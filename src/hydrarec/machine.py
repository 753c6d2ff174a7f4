"""What the numbers were measured on."""

import ctypes
import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any

import torch

from hydrarec.errors import InputError, first_line

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of glibc's mallopt


def machine() -> dict[str, str | int]:
    """Processor, cores, memory, and the versions that speed depends on."""
    facts: dict[str, str | int] = {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def describe(facts: dict[str, Any]) -> str:
    """One line for ``machine()``; where it is the same, seconds may be compared."""
    about = f"{facts['cores']} cores" + (f", {facts['gpu']}" if "gpu" in facts else "")
    threads = f"{facts['threads']} thread{'s' * (facts['threads'] != 1)} a run"
    return f"{facts['processor']}, {about}, {threads}, torch {facts['torch']}"


def cores() -> int:
    """Cores that this process may use, of those that the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_device(name: str) -> str:
    """``name``, if tensors can be put there.

    Raises:
        InputError: there is no such device here.
    """
    try:
        torch.empty(1, device=name).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch raises each of them
        raise InputError(f"device {name!r} cannot be used here ({first_line(error)}); use cpu") from error
    return name


def peak_memory_bytes() -> int:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def keep_freed_memory() -> None:
    """Tell glibc to keep large pieces of freed memory for the next step of a training; elsewhere nothing happens.

    By itself it gives them back to the system, and every step touches fresh pages again: 3 to 8 % of a step.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, 32 * 2**20)  # the largest that glibc takes
        set_option(_TRIM_THRESHOLD, 2**30)


def _processor() -> str:
    """Its name, and where the system tells them family and model: virtual machines have one name for many."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    about = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = about.get("model name")
    if name is None:
        return platform.processor() or platform.machine()
    known = [f"{what} {about[key]}" for what, key in (("family", "cpu family"), ("model", "model")) if key in about]
    return f"{name} ({', '.join(known)})" if known else name
