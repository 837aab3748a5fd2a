"""Parses texts: infotexts into request fields, prompts into tokens."""

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from modules.api.services import Services
from modules.api.v1.units import restored_units
from modules.base.fields import Strict
from modules.infotext.read import ParsedFields
from modules.prompts.styles import extract_styles
from modules.schema.request import MAX_PROMPT

MAX_INFOTEXT = 1_000_000  # characters; two prompts and their pairs have far fewer


class InfotextBody(Strict):
    text: str = Field(max_length=MAX_INFOTEXT, description="A picture's parameters, as stored in its file.")
    spelled_out: bool = Field(default=False, description="Leave styles in the prompts.")


class TokensBody(Strict):
    text: str = Field(description="A prompt.")


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["texts"])

    @router.post("/infotext")
    def read(body: InfotextBody) -> dict[str, Any]:
        """Parse an infotext into the request fields that reproduce the picture."""
        parsed = described_fields(services, services.read_infotext(body.text))
        return {**parsed, "styles": []} if body.spelled_out else with_styles(services, parsed)

    @router.post("/tokens")
    def tokens(body: TokensBody) -> dict[str, Any]:
        """The token count of a prompt, and the capacity of the chunks it takes."""
        count = services.count_tokens(body.text[:MAX_PROMPT])  # a longer prompt is rejected when it is submitted
        return {"count": count.tokens, "capacity": count.capacity}

    return router


def with_styles(services: Services, described: dict[str, Any]) -> dict[str, Any]:
    """`described`, with the styles found in its prompts extracted, if `infotext_styles` says so.

    The result has `styles` if they should replace the current selection; without it the selection stays.
    """
    how = services.settings.current.infotext_styles
    fields = described["fields"]
    if how == "Ignore" or not {"prompt", "negative_prompt"} <= set(fields):
        return described
    known = services.styles.styles()
    found = extract_styles(fields["prompt"], fields["negative_prompt"], known.values())
    prompts = {"prompt": found.prompt, "negative_prompt": found.negative_prompt}
    parsed = {**described, "fields": {**fields, **prompts}}
    return {**parsed, "styles": found.names} if how == "Apply" or (how == "Apply if any" and found.names) else parsed


def described_fields(services: Services, read: ParsedFields) -> dict[str, Any]:
    return {
        "kind": read.kind,
        "fields": read.fields,
        "settings": read.settings,
        "ignored": read.ignored,
        **restored_units(services, read),
    }
