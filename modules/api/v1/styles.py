"""Styles: list, save, delete, and put around the prompts of a request."""

import threading
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Path as InPath
from pydantic import Field

from modules.api.services import Services
from modules.base.disk import refusal, write_over
from modules.base.errors import WebuiError
from modules.base.fields import Strict
from modules.prompts.style_file import Style, StyleFile, read_style_file
from modules.prompts.styles import apply_styles, read_styles, require_styles
from modules.schema.request import MAX_PROMPT

FILE = "styles.csv"  # in the data folder, as in A1111
MAX_NAME = 200  # characters
MOST = 100  # styles at once
StyleName = Annotated[str, InPath(description="The style's name.")]
PROMPTS = (("prompt", "negative_prompt"), ("hr_prompt", "hr_negative_prompt"))


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
    path = services.flags.data_dir / FILE
    lock = threading.Lock()

    ours: set[bytes] = set()  # what this server wrote last

    def write(file: StyleFile) -> list[dict[str, Any]]:
        data = file.data()
        try:
            if path.exists() and (before := path.read_bytes()) not in ours:
                write_over(path.with_name(f"{FILE}.bak"), before)  # as A1111 names it
            write_over(path, data)
        except OSError as error:
            raise refusal("The style", path.parent, error) from error
        ours.clear()
        ours.add(data)
        return [style._asdict() for style in file.styles.values()]

    @router.get("")
    def styles() -> list[dict[str, Any]]:
        """The styles in styles.csv."""
        return [style._asdict() for style in read_styles(path).values()]

    @router.put("/{name:path}")
    def save(name: StyleName, body: StyleBody) -> list[dict[str, Any]]:
        """Save a style, in place of one of that name."""
        name = name.strip()
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise WebuiError(f"name: expected 1 to {MAX_NAME} printable characters.", "Use a shorter name.", "name")
        with lock:
            return write(read_style_file(path).with_style(Style(name, body.prompt, body.negative_prompt)))

    @router.post("/apply")
    def apply(body: ApplyBody) -> dict[str, Any]:
        """Two prompts with styles put around them."""
        known = read_styles(path)
        require_styles(body.styles, known)
        prompt, negative_prompt = apply_styles(body.prompt, body.negative_prompt, body.styles, known)
        return {"prompt": prompt, "negative_prompt": negative_prompt}

    @router.delete("/{name:path}")
    def delete(name: StyleName) -> list[dict[str, Any]]:
        """Delete a style."""
        with lock:
            file = read_style_file(path)
            if name not in file.styles:
                raise WebuiError(f"There is no style {name[:100]!r}.", field="name", status=404)
            return write(file.without(name))

    return router


def styled(values: dict[str, Any], data_dir: Path) -> dict[str, Any]:
    """A request's values without `styles`, its prompts with them. Raises WebuiError if one is unknown."""
    names = values.get("styles") or []
    rest = {name: value for name, value in values.items() if name != "styles"}
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WebuiError("styles: expected a list of names.", "GET /v1/styles lists them.", "styles")
    if not names:
        return rest
    known = read_styles(data_dir / FILE)
    require_styles(names, known)
    for positive, negative in PROMPTS:
        # An empty prompt of the second pass is the first one's, which has its styles already.
        is_first = positive == "prompt"
        texts = apply_styles(str(rest.get(positive, "")), str(rest.get(negative, "")), names, known)
        for field, text in zip((positive, negative), texts, strict=True):
            if is_first or rest.get(field):
                rest[field] = text
    return rest
