"""Settings that an ablation has settled (benchmarks/tables/ablation.toml): results from before it still name them."""

from typing import Any

# By model, what each had to be to be the layer of today.
STAYED: dict[str, dict[str, Any]] = {
    "hydra": {
        "mamba": 2,
        "n_decays": 1,
        "rope": "z",
        "scale_interaction": True,
        "share_projections": False,
        "gated_residual": False,
    }
}


def without_settled(recipe: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """A result's settings without those that are settled and were what has stayed; others are left, to be refused."""
    model = recipe["model"]
    stayed = STAYED.get(model.get("name", ""), {}).items()
    return {**recipe, "model": {key: value for key, value in model.items() if (key, value) not in stayed}}
