"""Accepts paths after a base URL that ends with a slash: //sdapi/v1/txt2img means /sdapi/v1/txt2img."""

from starlette.types import ASGIApp, Receive, Scope, Send

OF_PROGRAMS = ("/sdapi/", "/internal/")


class OneSlash:
    """Removes an extra leading slash from A1111's paths.

    It runs after the guard and the password check, which see the original path.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("//"):
            path = "/" + scope["path"].lstrip("/")
            if path.startswith(OF_PROGRAMS):
                scope = {**scope, "path": path, "raw_path": path.encode("ascii", "replace")}
        await self.app(scope, receive, send)
