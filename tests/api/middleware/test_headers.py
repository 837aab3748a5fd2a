"""The content security policy of the page, and the headers of everything else."""

import base64
import hashlib

import pytest
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from modules.api.middleware.headers import ALWAYS, NO_PAGE, SecurityHeaders, policy

INLINE = b"console.log('ours')"


def digest(text: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"


def scripts(content_policy: str) -> str:
    return next(part for part in content_policy.split("; ") if part.startswith("script-src"))


@pytest.mark.parametrize(
    ("page", "inline"),
    [
        (b"<script>" + INLINE + b"</script>", [INLINE]),
        (b"<SCRIPT type='module'>\n" + INLINE + b"</SCRIPT >", [b"\n" + INLINE]),
        (b"<script src='/a.js'></script><script>  </script>", []),
        (b"<script type='application/json'>{}</script>", []),
        (b"<script>a</script><script>b</script><script>a</script>", [b"a", b"b"]),
        (b"<p>no script</p>", []),
    ],
)
def test_only_the_pages_own_inline_scripts_may_run(page: bytes, inline: list[bytes]) -> None:
    allowed = scripts(policy(page)).split()[1:]
    assert allowed == ["'self'", "'unsafe-eval'", *sorted(digest(text) for text in inline)]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Four answers, by path."""
    answers: dict[str, Response] = {
        "/": HTMLResponse(b"<script>" + INLINE + b"</script>"),
        "/parts": StreamingResponse(iter([b"<script>", INLINE, b"</script>"]), media_type="text/html"),
        "/json": JSONResponse({}),
        "/own": PlainTextResponse("", headers={"X-Frame-Options": "SAMEORIGIN"}),
    }
    await answers[scope["path"]](scope, receive, send)


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(SecurityHeaders(application))


@pytest.mark.parametrize("path", ["/", "/parts"])
def test_a_page_is_sent_with_the_policy_of_its_whole_text(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.content == b"<script>" + INLINE + b"</script>"
    assert digest(INLINE) in scripts(answer.headers["content-security-policy"])


def test_other_answers_may_do_nothing_in_a_browser(client: TestClient) -> None:
    answer = client.get("/json")
    assert answer.headers["content-security-policy"] == NO_PAGE
    assert answer.headers["cache-control"] == "no-store"
    assert {name: answer.headers[name] for name in ALWAYS} == ALWAYS


def test_a_header_that_is_there_is_kept(client: TestClient) -> None:
    assert client.get("/own").headers["x-frame-options"] == "SAMEORIGIN"
