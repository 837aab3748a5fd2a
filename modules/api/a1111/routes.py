"""All routes of A1111's HTTP API. docs/api-a1111.md lists the differences."""

from fastapi import APIRouter
from fastapi.routing import APIRoute

from modules.api.a1111 import control, extras, generate, internal, lists, misc, options, progress
from modules.api.a1111.pictures import Fetch
from modules.api.a1111.tasks import Tasks
from modules.api.services import Services


def a1111_routes(services: Services, fetch: Fetch | None = None) -> APIRouter:
    """All routes, each with and without a trailing slash. `fetch` downloads pictures given by URL, if enabled."""
    tasks = Tasks(services.queue)
    parts = (
        generate.routes(services, tasks, fetch, services.extensions),
        extras.routes(services, fetch),
        control.routes(services, fetch),
        progress.routes(services, tasks),
        options.routes(services),
        lists.routes(services),
        misc.routes(services, fetch, services.extensions),
        internal.routes(services),
    )
    router = APIRouter()
    for part in parts:
        for route in list(part.routes):
            if isinstance(route, APIRoute):
                part.add_api_route(
                    # The path already contains the prefix, which `add_api_route` adds again.
                    f"{route.path.removeprefix(part.prefix)}/",
                    route.endpoint,
                    methods=sorted(route.methods or ()),
                    response_model=route.response_model,
                    include_in_schema=False,
                )
        router.include_router(part)
    return router
