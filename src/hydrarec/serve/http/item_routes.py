"""Items that are looked for, and that come and go."""

from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.exceptions import HTTPException

from hydrarec.serve.http.bodies import ID_LENGTH
from hydrarec.serve.http.ids import know_ids
from hydrarec.serve.http.item_bodies import FoundItems, ItemsStored, NewItems, Sought
from hydrarec.serve.service import Service

Item = Annotated[str, Path(min_length=1, max_length=ID_LENGTH)]


def found_items(service: Service) -> APIRouter:
    router = APIRouter()

    @router.get("/items")
    async def items(asked: Annotated[Sought, Query()]) -> FoundItems:
        """Items by their ids, or those whose id and text have all words of the query, best first."""
        catalog = (await service.up_to_date()).catalog
        if asked.id:
            rows = catalog.rows(asked.id)
            rows = rows[rows >= 0]
            rows = rows[catalog.there[rows]]
        else:
            rows = await service.search(lambda: catalog.search(asked.query, asked.limit))
        return FoundItems(items=catalog.records(rows))

    return router


def changed_items(service: Service) -> APIRouter:
    know_ids()
    router = APIRouter()

    @router.post("/items")
    async def put(body: NewItems) -> ItemsStored:
        """Add items, or change known ones. The answer comes when they are durable and can be recommended."""
        counts = Counter(await service.put_items([item.told() for item in body.items]))
        return ItemsStored(added=counts["added"], changed=counts["changed"], unchanged=counts["unchanged"])

    @router.delete("/items/{item:id}", status_code=204)
    async def remove(item: Item) -> None:
        """Recommend an item no more, until it is posted again."""
        (known,) = await service.remove_items([item])
        if not known:
            raise HTTPException(404, "there is no such item")

    return router
