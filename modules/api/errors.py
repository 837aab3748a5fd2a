"""Every error as one sentence of JSON: {"error", "detail", "field", "hint"}. Tracebacks go to the log, with an id."""

import logging
import secrets
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modules.base.errors import Busy, WebuiError
from modules.base.fields import shortened
from modules.base.paths import printable
from modules.processing.kinds.resolve import MissingNetworks

log = logging.getLogger(__name__)

OF_A1111 = "/sdapi/"
PHRASED = (404, 405)  # A1111 answers these with HTTP's own phrase, which clients check to see whether a route exists
METHODS = ("DELETE", "GET", "HEAD", "POST", "PUT")


class ErrorBody(BaseModel):
    """A description of an error for people."""

    error: str = Field(description="The kind of error.")
    detail: str = Field(description="One sentence: the field, its value and what was expected.")
    field: str = Field(description="The invalid field; empty if there is none.")
    hint: str = Field(description="How to fix it; empty if the sentence says so.")
    body: str = Field(default="", description="Always empty; only in responses of A1111's routes.")
    errors: str = Field(default="", description="Sentence and hint; only in responses of A1111's routes.")


# The error response of every route, for OpenAPI. With it, FastAPI does not list its own errors, which are never sent.
# Not given as `model`, because FastAPI would then use the media type of the route's successful response.
REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "description": "The request was rejected, with the reason.",
        "content": {"application/json": {"schema": ErrorBody.model_json_schema()}},
    }
}


def answer(error: WebuiError, name: str = "WebuiError", path: str = "") -> JSONResponse:
    """The response for `error`. `path` is the requested path: responses of A1111's routes have two more fields."""
    detail, hint = printable(error.message), printable(error.hint)
    body = {"error": name, "detail": detail, "field": shortened(printable(error.field)), "hint": hint}
    if path.startswith(OF_A1111):
        body |= {"body": "", "errors": f"{detail} {hint}".strip()}
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, Busy) else None
    return JSONResponse(body, error.status, headers)


def install(app: FastAPI) -> None:
    """Make `app` answer errors with sentences. `ErrorBoundary` handles unexpected ones."""
    app.add_exception_handler(WebuiError, _webui_error)
    app.add_exception_handler(RequestValidationError, _wrong_body)
    app.add_exception_handler(HTTPException, _http_error)


class ErrorBoundary:
    """The outermost layer except the guard. An unhandled error is a bug in Palimpsest: it is logged and answered so."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except ClientDisconnect:
            log.debug("%s %s: the client disconnected.", scope["method"], scope["path"])
        except Exception:
            trace_id = secrets.token_hex(3)
            log.exception("%s %s failed (id %s)", scope["method"], scope["path"], trace_id)
            if begun:
                raise  # the server closes the connection, so no client takes half a response for a whole one
            sentence = f"This is an error of Palimpsest itself (id {trace_id} in the log)."
            error = WebuiError(sentence, "Please report it, with the log.", status=500)
            await answer(error, "InternalError", scope["path"])(scope, receive, send)


async def _webui_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, WebuiError)
    name = type(error).__name__ if isinstance(error, MissingNetworks) else WebuiError.__name__
    return answer(error, name, request.url.path)


async def _wrong_body(request: Request, error: Exception) -> JSONResponse:
    """A response about the first error in a body or query: field, value and what was expected."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "")
        return answer(WebuiError(f"The body is not JSON ({reason}).", "Send a JSON object."))
    field = ".".join(str(part) for part in first["loc"][1:])
    value = repr(first.get("input"))
    shown = f" = {value}" if len(value) <= 80 and first["type"] != "missing" else ""
    expected = str(first["msg"])
    name = shortened(field) or "the body"
    return answer(WebuiError(f"{name}{shown}: {expected[:1].lower()}{expected[1:]}.", field=field))


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    """A response for errors raised by routing and by the body limit."""
    assert isinstance(error, HTTPException)
    sentences = {
        400: "The body cannot be read: it does not match its content type, or is not UTF-8.",
        404: f"There is nothing at {request.url.path}.",
        405: f"{request.url.path} does not support {request.method}.",
        408: "The body was sent too slowly.",
        413: "The body is too large.",
        429: "Not enough memory for this body right now; try again in a few seconds.",
    }
    status = HTTPStatus(error.status_code)
    if error.status_code == 413 and error.detail != status.phrase:
        sentences[413] = error.detail
    sentence = sentences.get(error.status_code) or error.detail or f"{status.phrase}."
    name = status.phrase.title().replace(" ", "")
    translated = WebuiError(sentence, status=error.status_code)
    if error.status_code in PHRASED and (error.status_code == 404 or request.url.path.startswith(OF_A1111)):
        translated = WebuiError(status.phrase, sentence, status=error.status_code)
    response = answer(translated, name, request.url.path)
    response.headers.update(error.headers or {})
    if error.status_code == 405:
        response.headers["Allow"] = ", ".join(_allowed(request.app.routes, request.scope))
    return response


def _allowed(routes: Sequence[BaseRoute], scope: Scope) -> list[str]:
    """The methods of a path. Starlette lists only those of the first route with that path."""
    return [
        method
        for method in METHODS
        if any(route.matches({**scope, "method": method})[0] == Match.FULL for route in routes)
    ]
