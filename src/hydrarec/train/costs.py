"""What a training took: in all, and up to the weights that were kept."""

from typing import Any

from hydrarec.train.checkpoint import Position


def costs(position: Position) -> dict[str, Any]:
    """Seconds on the clock and of the process, validation included; events; and their rate, without validation.

    Where nothing validated, the last weights are the kept ones.
    """
    validated = position.best_epoch > 0
    return {
        "seconds": position.seconds,
        "cpu_seconds": position.cpu_seconds,
        "seconds_to_best": position.best_seconds if validated else position.seconds,
        "cpu_seconds_to_best": position.best_cpu_seconds if validated else position.cpu_seconds,
        "events": position.events,
        "events_to_best": position.best_events if validated else position.events,
        "events_per_second": position.events / max(position.seconds - position.validating, 1e-9),
    }
