"""What clients send and get of items."""

from typing import Annotated, Any

from annotated_types import Len
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from hydrarec.serve.catalog.table import Told
from hydrarec.serve.http.bodies import ID_LENGTH, Body, Id

ITEMS = 256  # of a call
TEXT_LENGTH = 20_000  # characters of a column
FOUND = 100  # items of an answer


def _column(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if value is None or isinstance(value, str):
        return value
    raise ValueError("a column of an item is text, a number or null")


_COLUMN = {"anyOf": [{"type": "string", "maxLength": TEXT_LENGTH}, {"type": "number"}, {"type": "null"}]}
Column = Annotated[Annotated[str, Len(0, TEXT_LENGTH)] | None, BeforeValidator(_column), WithJsonSchema(_COLUMN)]


class NewItem(BaseModel):
    """An id, and columns of the item table by their names. What is left out stays as it is."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Column]

    item: Id

    def told(self) -> Told:
        return self.item, self.__pydantic_extra__


class NewItems(Body):
    items: Annotated[list[NewItem], Len(1, ITEMS)]


class ItemsStored(BaseModel):
    added: int
    changed: int
    unchanged: int


class Sought(Body):
    query: Annotated[str, Len(0, ID_LENGTH)] = ""
    id: Annotated[list[Id], Field(max_length=FOUND, default_factory=list)]
    limit: Annotated[int, Field(ge=1, le=FOUND)] = 20


class FoundItems(BaseModel):
    """Each with the columns of the item table that the run has."""

    items: list[dict[str, int | str | None]]
