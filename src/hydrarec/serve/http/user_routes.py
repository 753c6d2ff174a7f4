"""Events, recommendations and erasure."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.exceptions import HTTPException

from hydrarec.serve.engine import Answer
from hydrarec.serve.http.bodies import ID_LENGTH, Kept, NewEvents, Question, Recommendations, Stored, Wanted
from hydrarec.serve.http.ids import know_ids
from hydrarec.serve.service import Service

EVENTS, RECOMMENDATIONS = "/events", "/users/{user:id}/recommendations"
User = Annotated[str, Path(min_length=1, max_length=ID_LENGTH)]


def user_routes(service: Service) -> APIRouter:
    know_ids()
    router = APIRouter()

    @router.post(EVENTS)
    async def events(body: NewEvents) -> Stored:
        """Store events. The answer comes when they are durable and recommendations know of them."""
        return await store_events(service, body)

    @router.get(RECOMMENDATIONS)
    async def recommendations(user: User, wanted: Annotated[Wanted, Query()]) -> Recommendations:
        return Recommendations.of(await recommend(service, user, wanted), user)

    @router.get("/users/{user:id}/state")
    async def state(user: User) -> Kept:
        """How many events there are of a user, the last of them, and the size of the state that stands for all."""
        return await service.aside(lambda: Kept.of(service.engine, user))

    @router.post("/recommend")
    async def recommend_for_history(body: Question) -> Recommendations:
        """Recommend for a history; nothing of it is stored."""
        engine = await service.up_to_date()
        question = await service.aside(lambda: body.question(engine.catalog, engine.model))
        (answer,) = await service.answer([(engine, question)])
        return Recommendations.of(answer)

    @router.delete("/users/{user:id}", status_code=204)
    async def erase(user: User) -> None:
        """Erase a user's events, ids and state, whether or not there are any. Files are scrubbed soon after."""
        await service.aside(lambda: service.engine.erase(user))
        service.erased.set()

    return router


async def store_events(service: Service, body: NewEvents) -> Stored:
    new = await service.apply([event.event() for event in body.events])
    stored = Stored(accepted=sum(new), duplicates=len(new) - sum(new))
    service.metrics.events.labels("new").inc(stored.accepted)
    service.metrics.events.labels("known").inc(stored.duplicates)
    return stored


async def recommend(service: Service, user: str, wanted: Wanted) -> Answer:
    """Raises:
    HTTPException: the user has no events.
    """
    if wanted.chooses:
        engine = await service.up_to_date()
        request = await service.aside(lambda: wanted.request(engine.catalog, user=user))
    else:
        engine = service.engine
        request = wanted.request(engine.catalog, user=user)
    (answer,) = await service.answer([(engine, request)])
    if not answer.events:
        raise HTTPException(404, "this user has no events; POST /events stores some, POST /recommend needs none")
    return answer
