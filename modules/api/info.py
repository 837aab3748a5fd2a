"""What texts mean: infotexts as request fields, prompts as tokens."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from modules import infotext
from modules.api.services import Services
from modules.infotext import ParsedFields
from modules.request import MAX_PROMPT

MAX_INFOTEXT = 1_000_000  # characters; two prompts and their pairs are far below


class InfotextBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=MAX_INFOTEXT)


class TokensBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["texts"])

    @router.post("/infotext")
    def read(body: InfotextBody) -> dict[str, Any]:
        """What a request must hold to make the picture again that has this text."""
        parsed = infotext.parse(body.text)
        return described_fields(
            infotext.to_fields(parsed, settings=services.settings.current, catalog=services.catalog.current)
        )

    @router.post("/tokens")
    def tokens(body: TokensBody) -> dict[str, Any]:
        """How many tokens a prompt has, and how many fit into the chunks it takes."""
        count = services.count_tokens(body.text[:MAX_PROMPT])  # what is longer is refused when it is submitted
        return {"count": count.tokens, "capacity": count.capacity}

    return router


def described_fields(read: ParsedFields) -> dict[str, Any]:
    return {
        "kind": read.kind,
        "fields": read.fields,
        "settings": read.settings,
        "ignored": read.ignored,
        "notes": read.notes,
    }
