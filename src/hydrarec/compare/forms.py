"""What results tell of the past: a model that is another one today, though its settings are the same."""

from typing import Any

# By model, its form where it is not the first. Hydra's item path Z became 1 + Z where it meets the history path, then
# lost its rotary positions.
FORMS = {"hydra": 3}


def is_former(found: dict[str, Any]) -> bool:
    """Whether a result is of a form that its model no longer has."""
    form: int = found.get("form", 1)
    return form != FORMS.get(found.get("recipe", {}).get("model", {}).get("name", ""), 1)
