"""Cards: models of every kind with picture, folder and notes, and the effect of a click on each."""

import hashlib
import json
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from modules.api.card_index import Cards
from modules.api.openapi import answers, bytes_body
from modules.api.services import Services
from modules.api.v1.pictures import PICTURE_HEADERS, picture_bytes
from modules.base.errors import WebuiError
from modules.base.fields import Strict
from modules.base.names import shown
from modules.base.paths import printable
from modules.base.picture import Picture
from modules.networks.files.card_pictures import picture_key, picture_of
from modules.networks.files.cards import Card, CardKind
from modules.networks.files.loras import full_metadata
from modules.networks.files.notes import LARGEST_WEIGHT, LONGEST_LINE, LONGEST_TEXT, trained_tags
from modules.networks.files.own_notes import KEYS, chosen_prediction, read_own, save_own, save_prediction
from modules.networks.files.own_pictures import save_preview
from modules.prompts.written import LONGEST_ALIAS, embedding_word, hypernetwork_tag, lora_tag
from modules.schema.catalog import Catalog, Checkpoint, Embedding, Hypernetwork, Lora
from modules.store.thumbnails import small

SIDE = 320  # pixels of a thumbnail's longer side; a card is 150 wide, or 300 device pixels on some screens
LONGEST_ABOUT = 300  # characters of a description in the list
LONGEST_REASON = 300
MOST_TAGS = 24  # from a LoRA's training, as in A1111
UNWRITABLE = "No prompt can refer to it: its name contains prompt syntax or means another file. Rename it."
METADATA_LABELS = {
    "ss_output_name": "Trainer's name",
    "ss_sd_model_name": "Trained on",
    "ss_network_module": "Module",
    "ss_network_dim": "Rank",
    "ss_network_alpha": "Alpha",
    "ss_clip_skip": "Clip skip",
    "ss_num_train_images": "Training pictures",
    "ss_resolution": "Resolution",
    "modelspec.architecture": "Architecture",
    "modelspec.author": "Author",
    "modelspec.license": "License",
    "modelspec.date": "Date",
}

OfKind = Annotated[CardKind, InPath(description="Which models.")]
Name = Annotated[str, Query(description="The model's `name` in the list.", max_length=4096)]


Anew = Annotated[bool, Query(description="Look into the folders though that was done a moment ago.")]
Of = Annotated[str, Query(description="Another text for another picture, so that it may be kept.", max_length=100)]


class NotesBody(Strict):
    """The notes to change; omitted fields keep their values."""

    description: str | None = Field(None, max_length=LONGEST_TEXT, description="What it is.")
    activation_text: str | None = Field(None, max_length=LONGEST_LINE, description="Written beside it into the prompt.")
    preferred_weight: float | None = Field(
        None,
        ge=-LARGEST_WEIGHT,
        le=LARGEST_WEIGHT,
        allow_inf_nan=False,
        description="In a tag; 0 for none.",
    )
    negative_text: str | None = Field(None, max_length=LONGEST_LINE, description="Written into the negative prompt.")
    notes: str | None = Field(None, max_length=LONGEST_TEXT, description="Anything.")
    prediction: Literal["", "epsilon", "v_prediction", "v_prediction_zero_snr"] | None = Field(
        None, description="What a checkpoint's network predicts, for its next job; empty for what its file says."
    )
    sd_version: str | None = Field(None, max_length=60, description="The base model: SD1, SD2, SDXL, SD3, Unknown.")


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1/cards", tags=["cards"])
    index = services.cards
    kept: dict[CardKind, tuple[Cards, int, str]] = {}  # the rows as JSON: thousands take a while to encode

    def rows_of(kind: CardKind, current: Cards) -> str:
        width = services.queue.state().text_width
        before = kept.get(kind)
        if before is not None and before[0] is current and before[1] == width:
            return before[2]
        rows = [_row(card, current.catalog, services) for card in current.cards[kind].values()]
        text = json.dumps(rows, ensure_ascii=False)
        kept[kind] = current, width, text
        return text

    @router.get("/{kind}", response_class=Response, responses=answers(["application/json"]))
    def cards(kind: OfKind, anew: Anew = False) -> Response:
        """The cards of one kind, after a scan of the folders. While `more` is true, ask again for the rest."""
        current = index.current(anew)
        more = json.dumps(index.is_looking or current.unread > 0)
        return Response(f'{{"cards": {rows_of(kind, current)}, "more": {more}}}', media_type="application/json")

    @router.get("/{kind}/card")
    def card(kind: OfKind, name: Name) -> dict[str, Any]:
        """One card with all details. `own` is the content of its JSON file in A1111's format, which PUT changes."""
        return _detailed(index.card(kind, name), index.current().catalog, services)

    @router.put("/{kind}/card")
    def save(kind: OfKind, name: Name, body: NotesBody) -> dict[str, Any]:
        """Write notes into `NAME.json` beside the model, as A1111's editor does. Other content of the file stays.

        The prediction of a diffusers folder is written to its `defaults.json`.
        """
        found = index.card(kind, name)
        index.files.require_ours(found)
        changes = body.model_dump(exclude_none=True)
        prediction = changes.pop("prediction", None)
        if prediction is not None and kind != "checkpoints":
            raise WebuiError(f"prediction: the {kind} predict nothing.", "Leave it out.", "prediction")
        if changes or prediction is None:
            save_own(found.own_path, changes)
        if prediction is not None:
            save_prediction(found.path, prediction)
        index.look(anew=False)
        return _detailed(index.card(kind, name), index.current().catalog, services)

    @router.get("/{kind}/thumbnail", response_class=Response, responses=answers(["image/webp"]))
    def thumbnail(
        kind: OfKind,
        name: Name,
        of: Annotated[str, Query(description="Changes with the picture.", max_length=100)] = "",
    ) -> Response:
        """A thumbnail of a model's picture, as WebP."""
        found = index.card(kind, name)
        key = f"{SIDE} {picture_key(found)}"
        data = services.thumbnails.get(key, lambda: small(picture_of(found), SIDE, "name"))
        return Response(data, media_type="image/webp", headers=PICTURE_HEADERS)

    @router.put("/{kind}/thumbnail", openapi_extra=bytes_body("A picture file."))
    async def illustrate(
        request: Request,
        kind: OfKind,
        name: Name,
        replace: Annotated[bool, Query(description="Whether to replace the picture that is there.")] = False,
    ) -> dict[str, Any]:
        """Save the body, a picture file, as the model's preview: `NAME.preview.png` beside it, as in A1111.

        Returns the changed card; 409 with the field `replace` if the model already has a picture.
        """
        data = await picture_bytes(request, "picture")
        return await run_in_threadpool(illustrated, kind, name, data, replace)

    def illustrated(kind: CardKind, name: str, data: bytes, is_replacing: bool) -> dict[str, Any]:
        found = index.card(kind, name)
        index.files.require_ours(found)
        save_preview(found, Picture.from_bytes(data, "picture"), is_replacing)
        index.look(anew=False)
        return _detailed(index.card(kind, name), index.current().catalog, services)

    return router


def _row(card: Card, catalog: Catalog, services: Services) -> dict[str, Any]:
    notes = card.notes
    text, reason = _use(card, catalog, services)
    return {
        "name": card.name,
        "label": printable(shown(card.base.stem)),
        "alias": card.entry.alias[:LONGEST_ALIAS] if isinstance(card.entry, Lora) else "",
        "title": notes.title,
        "folder": printable(card.folder),
        "file": printable(shown(card.path.name)),
        "thumbnail": _thumbnail(card),
        "changed": card.changed / 1e9,
        "size": card.size,
        "base": notes.base_model or card.family,
        "family": card.family,
        "tags": list(notes.tags),
        "words": notes.activation_text,
        "negative": notes.negative_text,
        "about": notes.description[:LONGEST_ABOUT],
        "notes": notes.notes[:LONGEST_ABOUT],
        "text": text,
        "reason": reason,
    }


def _use(card: Card, catalog: Catalog, services: Services) -> tuple[str, str]:
    """(the text that a click writes into the prompt, why the model cannot be used)."""
    match card.entry:
        case Lora() as lora:
            text = "" if lora.reason else lora_tag(lora, catalog, card.notes.preferred_weight or 1.0)
            reason = lora.reason
        case Hypernetwork() as hypernetwork:
            text, reason = hypernetwork_tag(hypernetwork, catalog, card.notes.preferred_weight or 1.0), ""
        case Embedding() as embedding:
            reason = embedding.unusable_with(services.queue.state().text_width)
            text = "" if reason else embedding_word(embedding.name, *services.count_tokens.reader())
        case Checkpoint() as checkpoint:
            return "", checkpoint.reason[:LONGEST_REASON]
        case _:
            return "", ""
    return text, "" if text else (reason or UNWRITABLE)[:LONGEST_REASON]


def _thumbnail(card: Card) -> str:
    key = picture_key(card)
    if not key:
        return ""
    of = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"/v1/cards/{card.kind}/thumbnail?{urlencode({'name': card.name, 'of': of})}"


def _detailed(card: Card, catalog: Catalog, services: Services) -> dict[str, Any]:
    editable, problems = _editable(card)
    if isinstance(card.entry, Checkpoint):
        editable["prediction"] = chosen_prediction(card.path)
    metadata = full_metadata(card.path) if isinstance(card.entry, Lora) else {}
    texts = {label: str(metadata.get(key) or "")[:200] for key, label in METADATA_LABELS.items()}
    return _row(card, catalog, services) | {
        "about": card.notes.description,
        "notes": card.notes.notes,
        "own": editable,
        "metadata": {label: text for label, text in texts.items() if text not in ("", "None")},
        "trained_tags": list(trained_tags(metadata, MOST_TAGS)),
        "problems": list(dict.fromkeys([*card.problems, *problems])),
    }


def _editable(card: Card) -> tuple[dict[str, Any], list[str]]:
    """(the fields of the user's notes, why they cannot be read)."""
    try:
        content = read_own(card.own_path)
    except WebuiError as error:
        return {}, [error.message]
    return {name: content[key] for name, key in KEYS.items() if isinstance(content.get(key), str | float | int)}, []
