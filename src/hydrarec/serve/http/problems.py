"""Errors as problem documents (RFC 9457). What a client sent is repeated in the words of an ``InputError`` alone."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from hydrarec.errors import InputError
from hydrarec.serve.batching import BusyError
from hydrarec.serve.metrics import REFUSED
from hydrarec.serve.stores.contract import StoreError

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS: dict[type[Exception], int] = {BusyError: 1, StoreError: 10}
RESPONSES: dict[int | str, dict[str, Any]] = {  # what every operation of the OpenAPI document may answer
    "default": {
        "description": "A problem document (RFC 9457).",
        "content": {
            MEDIA_TYPE: {
                "schema": {
                    "type": "object",
                    "required": ["type", "title", "status", "detail"],
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer", "minimum": 400, "maximum": 599},
                        "detail": {"type": "string"},
                    },
                }
            }
        },
    }
}
_REASONS = {401: "key", 413: "size", 421: "host"}


def problem(status: int, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return Response(json.dumps(body), status, headers=headers, media_type=MEDIA_TYPE)


def add_problems(app: FastAPI) -> None:
    """Turn every error of ``app`` into a problem document."""
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(InputError, _bad_input)
    app.add_exception_handler(BusyError, _later)
    app.add_exception_handler(StoreError, _later)
    app.add_exception_handler(Exception, _failed)


def _not_valid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [{"at": ".".join(map(str, each["loc"])), "problem": each["msg"]} for each in error.errors()]
    detail = f"{errors[0]['at']}: {errors[0]['problem']}"
    if errors[0]["at"] == "body" and "json" not in request.headers.get("content-type", ""):
        detail = "body: say that it is JSON, with the header Content-Type: application/json"
    return problem(422, detail, errors=errors[:20])


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code in _REASONS:
        request.scope[REFUSED] = _REASONS[error.status_code]
    return problem(error.status_code, error.detail, headers=error.headers)


def _bad_input(request: Request, error: Exception) -> Response:
    return problem(422, str(error))


def _later(request: Request, error: Exception) -> Response:
    request.scope[REFUSED] = "busy" if isinstance(error, BusyError) else "store"
    return problem(503, str(error), headers={"Retry-After": str(RETRY_SECONDS[type(error)])})


def _failed(request: Request, error: Exception) -> Response:
    return problem(500, "the server failed; its log says where")
