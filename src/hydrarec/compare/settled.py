"""What results tell of the past: settings that an ablation has settled since, and a model that is another one today."""

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

# By model, its form where it is not the first: the same settings were another model before. Hydra's item path Z became
# 1 + Z where it meets the history path.
FORMS = {"hydra": 2}


def is_former(found: dict[str, Any]) -> bool:
    """Whether a result is of a form that its model no longer has."""
    form: int = found.get("form", 1)
    return form != FORMS.get(found.get("recipe", {}).get("model", {}).get("name", ""), 1)


def without_settled(recipe: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """A result's settings without those that are settled and were what has stayed; others are left, to be refused."""
    model = recipe["model"]
    stayed = STAYED.get(model.get("name", ""), {}).items()
    return {**recipe, "model": {key: value for key, value in model.items() if (key, value) not in stayed}}
