"""What clients send and get: bodies, their limits, and what they mean to the engine."""

import time
from typing import Annotated, Any

import numpy as np
from annotated_types import Len
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from hydrarec.data.reading.times import instant
from hydrarec.errors import InputError
from hydrarec.models.neural import NeuralModel
from hydrarec.serve.catalog.catalog import Catalog
from hydrarec.serve.engine import Answer, Engine, Request
from hydrarec.serve.stores.contract import Event, History, in_order

BODY_BYTES = 2**20
BATCH = 1_000  # events of a call
ID_LENGTH = 256  # characters
K = 1_000
HISTORY = 10_000  # events of a history, or items of a list, in a body
LISTED = 100  # items of a list in a query
LATEST = 20  # events that are told of a user
_LATEST = 253_402_300_800  # seconds: the year 10000


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("an id is text or a whole number")
    if isinstance(value, int) and value.bit_length() > 64:
        raise ValueError("an id that is a number has 64 bits at most; write it as text")
    return str(value)


def _moment(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a time is a number or text")
    try:
        moment = instant(value)
    except (InputError, ValueError, OverflowError) as error:
        raise ValueError("this is no time; give seconds since 1970 or a date such as 2024-05-31T12:00:00Z") from error
    if abs(moment) >= _LATEST:
        raise ValueError("this time is beyond the year 9999")
    return moment


_ID = {"anyOf": [{"type": "string", "minLength": 1, "maxLength": ID_LENGTH}, {"type": "integer"}]}
_TIME = {"anyOf": [{"type": "number"}, {"type": "string", "description": "an ISO date, UTC without a zone"}]}
Id = Annotated[str, Len(1, ID_LENGTH), BeforeValidator(_text), WithJsonSchema(_ID)]
Moment = Annotated[int, BeforeValidator(_moment), WithJsonSchema(_TIME)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewEvent(Body):
    user: Id
    item: Id
    time: Moment
    id: Id | None = None

    def event(self) -> Event:
        return Event(user=self.user, item=self.item, time=self.time, id=self.id)


class NewEvents(Body):
    events: Annotated[list[NewEvent], Len(1, BATCH)]


class Stored(BaseModel):
    accepted: int
    duplicates: int


class Wanted(Body):
    """Conditions of an answer. ``filter`` holds COLUMN:VALUE pairs of the item table.

    ``candidates``, where there are any, are the only items that may come; ``exclude`` never do.
    """

    k: Annotated[int, Field(ge=1, le=K)] = 10
    at: Moment | None = None
    exclude_seen: bool = False
    domain: Annotated[str, Len(1, ID_LENGTH)] | None = None
    filter: Annotated[list[Annotated[str, Len(1, 2 * ID_LENGTH)]], Len(0, 10)] = []

    candidates: Annotated[list[Id], Len(1, LISTED)] | None = None
    exclude: Annotated[list[Id], Len(0, LISTED)] = []

    @property
    def chooses(self) -> bool:
        """Whether conditions must be looked up in the catalog."""
        return bool(self.domain is not None or self.filter or self.candidates)

    def request(self, catalog: Catalog, **more: Any) -> Request:
        """Raises:
        InputError: a filter that is none, or that leaves no item.
        """
        pairs = [pair.partition(":") for pair in self.filter]
        if not all(column and colon for column, colon, _ in pairs):
            raise InputError("filter must be COLUMN:VALUE, with a column of the item table")
        where = tuple(sorted((column, value) for column, _, value in pairs))
        allowed = catalog.allowed(domain=self.domain, where=where, candidates=self.candidates)
        return Request(
            k=self.k,
            at=int(time.time()) if self.at is None else self.at,
            exclude_seen=self.exclude_seen,
            allowed=allowed,
            excluded=tuple(self.exclude),
            **more,
        )


class PastEvent(Body):
    item: Id
    time: Moment | None = None


class Question(Wanted):
    history: Annotated[list[PastEvent], Len(1, HISTORY)]
    candidates: Annotated[list[Id], Len(1, HISTORY)] | None = None
    exclude: Annotated[list[Id], Len(0, HISTORY)] = []

    def question(self, catalog: Catalog, model: NeuralModel) -> Request:
        """Raises:
        InputError: also times of some events and not of others, of none where the model needs them.
        """
        items, times = [event.item for event in self.history], [event.time for event in self.history]
        given = [moment for moment in times if moment is not None]
        if given and len(given) < len(times):
            raise InputError("history: give the times of all events, or of none")
        if model.sees_request_time and not given:
            raise InputError("history: this model reads when events happened; give their times")
        if not model.reads_unknown_items and (catalog.rows(items) < 0).all():
            raise InputError("history: the model knows none of the items")
        when = in_order(given) if given else np.zeros(len(items), np.int64)
        return self.request(catalog, history=History(items=items, times=when))


class KeptEvent(BaseModel):
    item: str
    time: int


class Kept(BaseModel):
    """What is kept of a user.

    Attributes:
        last: the time of the last event, by the rule for late ones; null without any.
        bytes: size of the state; 0 where it is to be made from the history.
        reads_time: whether answers depend on when they are asked.
        latest: the last events, the last one first.
    """

    user: str
    events: int
    last: int | None
    bytes: int
    reads_time: bool
    latest: list[KeptEvent]

    @classmethod
    def of(cls, engine: Engine, user: str) -> "Kept":
        (account,) = engine.store.accounts([user], engine.version)
        return cls(
            user=user,
            events=account.events,
            last=account.last if account.events else None,
            bytes=0 if account.state is None else len(account.state.data),
            reads_time=engine.model.sees_request_time,
            latest=[KeptEvent(item=item, time=time) for item, time in engine.store.latest(user, LATEST)],
        )


class Recommendation(BaseModel):
    item: int | str
    score: float


class Recommendations(BaseModel):
    user: str | None
    recommendations: list[Recommendation]
    events: int

    @classmethod
    def of(cls, answer: Answer, user: str | None = None) -> "Recommendations":
        # Made from the engine's own values, nothing of it needs to be checked.
        pairs = zip(answer.items, answer.scores, strict=True)
        items = [Recommendation.model_construct(item=item, score=score) for item, score in pairs]
        return cls.model_construct(user=user, recommendations=items, events=answer.events)
