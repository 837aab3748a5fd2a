"""Security headers for browsers: responses may not be framed, sniffed or used by other sites.

The page gets a content security policy with the digests of its own inline scripts, so no other script runs, even if
somebody manages to inject one into the page. Gradio requires two exceptions: it builds its event functions from text
('unsafe-eval') and sets styles on elements ('unsafe-inline', for styles only).
"""

import base64
import hashlib
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
NO_PAGE = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
PAGE = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'{digests}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; manifest-src 'self'; object-src 'none'; "
    "frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)
INLINE_SCRIPT = re.compile(rb"<script\b([^>]*)>(.*?)</script\s*>", re.DOTALL | re.IGNORECASE)
LARGEST_PAGE = 16 * 2**20  # bytes; Gradio's page has about one


class SecurityHeaders:
    """Adds security headers to every response that lacks them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["path"] == "/":
            scope = _uncompressed(scope)  # `policy` must read the page as it is sent
        start: Message = {}
        page = bytearray()
        held = False

        async def completed(message: Message) -> None:
            nonlocal start, held
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in ALWAYS.items():
                    headers.setdefault(name, value)
                kind = headers.get("content-type", "")
                if kind.startswith("application/json"):
                    headers.setdefault("Cache-Control", "no-store")
                if kind.startswith("text/html") and "content-security-policy" not in headers:
                    start, held = message, True
                    return
                headers.setdefault("Content-Security-Policy", NO_PAGE)
            elif held and message["type"] == "http.response.body":
                page.extend(message.get("body", b""))
                if message.get("more_body", False) and len(page) < LARGEST_PAGE:
                    return
                held = False
                MutableHeaders(scope=start)["Content-Security-Policy"] = policy(bytes(page))
                await send(start)
                message = {**message, "body": bytes(page)}
            await send(message)

        await self.app(scope, receive, completed)


def policy(page: bytes) -> str:
    """The content security policy that allows the inline scripts of `page` and no others."""
    digests = {
        base64.b64encode(hashlib.sha256(text).digest()).decode()
        for attributes, text in INLINE_SCRIPT.findall(page)
        if text.strip() and b"src=" not in attributes and b"application/json" not in attributes
    }
    return PAGE.format(digests="".join(f" 'sha256-{digest}'" for digest in sorted(digests)))


def _uncompressed(scope: Scope) -> Scope:
    headers = [(name, value) for name, value in Headers(scope=scope).raw if name != b"accept-encoding"]
    return {**scope, "headers": headers}
