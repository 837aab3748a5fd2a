"""The application that serves the HTTP API; the page is mounted into it afterwards."""

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

import modules
from modules.api import docs_page, errors, health, metrics
from modules.api.a1111.routes import a1111_routes
from modules.api.errors import REFUSALS, ErrorBoundary
from modules.api.fetch import fetch
from modules.api.metrics import CountRequests, Metrics
from modules.api.middleware.auth import BasicAuth
from modules.api.middleware.body_limit import BodyLimit
from modules.api.middleware.guard import Guard
from modules.api.middleware.headers import SecurityHeaders
from modules.api.middleware.slashes import OneSlash
from modules.api.services import Services
from modules.api.v1 import (
    batches,
    cards,
    enlarge,
    estimate,
    history,
    info,
    intents,
    jobs,
    networks,
    options,
    outputs,
    pictures,
    repair,
    reproduce,
    scripts,
    state,
    styles,
    upscalers,
)
from modules.api.v1 import fetch as fetch_v1
from modules.base.picture import MAX_BYTES
from modules.flags.values import ANY_ORIGIN

MAX_BODY = MAX_BYTES * 4 // 3 + 1_000_000  # bytes: the largest picture as base64, and the rest of a request
MAX_JSON = (64 << 20) * 4 // 3 + 1_000_000  # bytes: 64 MB of pictures in total as base64, and the rest of a request
TO_DISK = ("/v1/batches/files", "/v1/batches")  # paths whose bodies are files of any size
RAW = ("/v1/batches/files", "/v1/pictures")  # paths whose bodies are files
OF_PICTURES = (
    "/v1/jobs",
    "/v1/pictures",
    *(f"/sdapi/v1/{name}" for name in ("txt2img", "img2img", "extra-single-image", "extra-batch-images")),
    *(f"/sdapi/v1/{name}" for name in ("png-info", "interrogate")),
)


def create_api(services: Services) -> FastAPI:
    """All routes, with errors as sentences and the guard in front, which also protects apps mounted later."""
    app = FastAPI(
        title="Palimpsest",
        version=modules.__version__,
        docs_url=None,  # FastAPI's documentation pages load scripts from other servers
        redoc_url=None,
        responses=REFUSALS,
    )
    errors.install(app)
    for part in (docs_page, health, state, jobs, estimate, batches, pictures, info, intents, options, outputs, scripts):
        app.include_router(part.routes(services))
    app.include_router(repair.routes(services))
    app.include_router(reproduce.routes(services))
    app.include_router(styles.routes(services))
    app.include_router(networks.routes(services))
    app.include_router(upscalers.routes(services))
    app.include_router(enlarge.routes(services))
    app.include_router(cards.routes(services))
    app.include_router(fetch_v1.routes(services))
    app.include_router(history.routes(services))
    app.include_router(a1111_routes(services, fetch if services.flags.allow_url_fetch else None))
    numbers = Metrics(services.queue)
    app.include_router(metrics.routes(services, numbers))
    flags = services.flags
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, limit=MAX_BODY, to_disk=TO_DISK, raw=RAW, large=OF_PICTURES, most_json=MAX_JSON)
    app.add_middleware(OneSlash)
    app.add_middleware(ErrorBoundary)
    app.add_middleware(BasicAuth, credentials=flags.auth)
    if flags.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=flags.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            allow_credentials=ANY_ORIGIN not in flags.cors_origins,
        )
    app.add_middleware(Guard, names=(flags.server_name, *flags.allow_hosts), origins=flags.cors_origins)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(CountRequests, metrics=numbers)
    return app
