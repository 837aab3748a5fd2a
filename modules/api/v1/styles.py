"""Styles: list, save, delete, and apply to the prompts of a request."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Path as InPath
from pydantic import Field

from modules.api.services import Services
from modules.base.errors import WebuiError
from modules.base.fields import Strict
from modules.prompts.style_file import Style
from modules.prompts.styles import apply_styles, require_styles
from modules.schema.request import MAX_PROMPT

MAX_NAME = 200  # characters
MOST = 100  # styles in one request
StyleName = Annotated[str, InPath(description="The style's name.")]


class StyleBody(Strict):
    prompt: str = Field(
        "", max_length=MAX_PROMPT, description="Added after the prompt; {prompt} marks where the prompt goes."
    )
    negative_prompt: str = Field("", max_length=MAX_PROMPT, description="The same for the negative prompt.")


class ApplyBody(Strict):
    prompt: str = Field("", max_length=MAX_PROMPT, description="The prompt.")
    negative_prompt: str = Field("", max_length=MAX_PROMPT, description="The negative prompt.")
    styles: list[str] = Field(max_length=MOST, description="Names of styles, in the order to apply them.")


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1/styles", tags=["styles"])
    book = services.styles

    @router.get("")
    def styles() -> list[dict[str, Any]]:
        """The styles in styles.csv, and those of the installation given with `--a1111`."""
        return _listed(book.styles())

    @router.put("/{name:path}")
    def save(name: StyleName, body: StyleBody) -> list[dict[str, Any]]:
        """Save a style, replacing one with the same name."""
        name = name.strip()
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise WebuiError(f"name: expected 1 to {MAX_NAME} printable characters.", "Use a shorter name.", "name")
        return _listed(book.save(Style(name, body.prompt, body.negative_prompt)))

    @router.post("/apply")
    def apply(body: ApplyBody) -> dict[str, Any]:
        """Both prompts with the styles applied to them."""
        known = book.styles()
        require_styles(body.styles, known)
        prompt, negative_prompt = apply_styles(body.prompt, body.negative_prompt, body.styles, known)
        return {"prompt": prompt, "negative_prompt": negative_prompt}

    @router.delete("/{name:path}")
    def delete(name: StyleName) -> list[dict[str, Any]]:
        """Delete a style."""
        return _listed(book.delete(name))

    return router


def _listed(styles: Mapping[str, Style]) -> list[dict[str, Any]]:
    return [style._asdict() for style in styles.values()]
