"""Every error as one sentence of JSON: {"error", "detail", "field", "hint"}. Traces go to the log, under an id."""

import logging
import secrets
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modules.errors import WebuiError

log = logging.getLogger(__name__)

OF_A1111 = "/sdapi/"


class Busy(WebuiError):
    """The client asked for more than its share, and may ask again in `retry_after` seconds."""

    def __init__(self, message: str, hint: str = "", retry_after: int = 1) -> None:
        super().__init__(message, hint, status=429)
        self.retry_after = retry_after


def answer(error: WebuiError, name: str = "WebuiError", path: str = "") -> JSONResponse:
    """`path` is what was asked for: clients of A1111's routes look for two fields more."""
    body = {"error": name, "detail": error.message, "field": error.field, "hint": error.hint}
    if path.startswith(OF_A1111):
        body |= {"body": "", "errors": str(error)}
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, Busy) else None
    return JSONResponse(body, error.status, headers)


def install(app: FastAPI) -> None:
    """Have `app` answer with sentences. `ErrorBoundary` is for what nobody foresaw."""
    app.add_exception_handler(WebuiError, _webui_error)
    app.add_exception_handler(RequestValidationError, _wrong_body)
    app.add_exception_handler(HTTPException, _http_error)


class ErrorBoundary:
    """The outermost layer but the guard: an error that nobody handled is our bug, and is told and logged as such."""

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
        except Exception:
            trace_id = secrets.token_hex(3)
            log.exception("%s %s failed (id %s)", scope["method"], scope["path"], trace_id)
            if begun:
                raise  # the server closes the connection, so that nobody takes half an answer for a whole one
            sentence = f"This is an error of Palimpsest itself (id {trace_id} in the log)."
            error = WebuiError(sentence, "Please report it, with the log.", status=500)
            await answer(error, "InternalError", scope["path"])(scope, receive, send)


async def _webui_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, WebuiError)
    return answer(error, path=request.url.path)


async def _wrong_body(request: Request, error: Exception) -> JSONResponse:
    """The first thing that is wrong with a body or query, as field, value and what was expected."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "")
        return answer(WebuiError(f"The body is not JSON ({reason}).", "Send a JSON object."))
    field = ".".join(str(part) for part in first["loc"][1:])
    value = repr(first.get("input"))
    shown = f" = {value}" if len(value) <= 80 and first["type"] != "missing" else ""
    expected = str(first["msg"])
    return answer(WebuiError(f"{field or 'the body'}{shown}: {expected[:1].lower()}{expected[1:]}.", field=field))


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    """What routing and the body limit refuse."""
    assert isinstance(error, HTTPException)
    sentences = {
        404: f"There is nothing at {request.url.path}.",
        405: f"{request.url.path} does not answer to {request.method}.",
        408: "The body came too slowly.",
        413: "The body is too large.",
    }
    status = HTTPStatus(error.status_code)
    sentence = sentences.get(error.status_code) or error.detail or f"{status.phrase}."
    name = status.phrase.title().replace(" ", "")
    response = answer(WebuiError(sentence, status=error.status_code), name, request.url.path)
    response.headers.update(error.headers or {})
    return response
