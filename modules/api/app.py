"""The application that serves the HTTP interface; the page is mounted into it afterwards."""

from fastapi import FastAPI

import modules
from modules.api import errors, info, jobs, options, outputs, pictures, state
from modules.api.body_limit import BodyLimit
from modules.api.errors import ErrorBoundary
from modules.api.guard import Guard
from modules.api.services import Services
from modules.codec import MAX_BYTES

MAX_BODY = MAX_BYTES * 4 // 3 + 1_000_000  # bytes: the largest picture as base64, and the rest of a request


def create_api(services: Services) -> FastAPI:
    """All routes, with errors as sentences and the guard in front, also of what is mounted later."""
    app = FastAPI(
        title="Palimpsest",
        version=modules.__version__,
        docs_url=None,  # FastAPI's pages of documentation load scripts from elsewhere
        redoc_url=None,
    )
    errors.install(app)
    for part in (state, jobs, pictures, info, options, outputs):
        app.include_router(part.routes(services))
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, limit=MAX_BODY)
    app.add_middleware(ErrorBoundary)
    app.add_middleware(Guard, names=(services.flags.server_name,))
    return app
