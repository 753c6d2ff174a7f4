"""A finished run in one object."""

from typing import Any

from hydrarec.evaluate.groups import of_domains
from hydrarec.train.run import Run


def summary(run: Run) -> dict[str, Any]:
    """What ``hydrarec train --json`` prints of a finished run; ``domains`` only where the data has them."""
    results = run.metrics
    test = results.get("test", {})
    domains = of_domains(test.get("groups", {}))
    keys = (
        "parameters",
        "item_bytes",
        "seconds",
        "peak_memory_bytes",
        "epochs",
        "fingerprint",
        "seed",
        "machine",
        "sees_request_time",
    )
    return {
        "run": str(run.path),
        "protocol": run.protocol.split,
        "metrics": test.get("metrics"),
        **({"domains": domains} if domains else {}),
        **{key: results[key] for key in keys if key in results},
        "validation": results.get("validation"),
        **({"cost": cost_of(results)} if "cost" in results else {}),
        **({"before": results["before"]} if "before" in results else {}),
    }


def cost_of(results: dict[str, Any]) -> dict[str, Any]:
    """What a training took, in one place."""
    return {"seconds": results["seconds"], **results["cost"], "peak_memory_bytes": results["peak_memory_bytes"]}
