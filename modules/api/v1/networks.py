"""LoRAs and embeddings as the page lists them: the text that a click writes into the prompt, without metadata."""

from typing import Any

from fastapi import APIRouter

from modules.api.services import Services
from modules.base.names import shown
from modules.prompts.written import LONGEST_ALIAS, embedding_word, lora_tag
from modules.schema.catalog import Catalog, Embedding, Lora

LONGEST_REASON = 500  # characters
UNWRITABLE = "No prompt can refer to it: its name contains prompt syntax or means another file. Rename it."


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1/networks", tags=["networks"])

    @router.get("")
    def networks() -> dict[str, Any]:
        """The LoRAs and embeddings. `text` is what a prompt must contain to use one; without it, `reason` says why."""
        catalog, width = services.catalog.current, services.queue.state().text_width
        return {
            "loras": [_lora(lora, catalog) for lora in catalog.loras],
            "embeddings": [_embedding(embedding, width, services) for embedding in catalog.embeddings],
        }

    return router


def _lora(lora: Lora, catalog: Catalog) -> dict[str, Any]:
    alias = "" if lora.alias == lora.name else lora.alias[:LONGEST_ALIAS]
    about = {"name": lora.name, "file": shown(lora.path.name), "alias": alias}
    return about | _written("" if lora.reason else lora_tag(lora, catalog), lora.reason)


def _embedding(embedding: Embedding, width: int, services: Services) -> dict[str, Any]:
    reason = embedding.unusable_with(width)
    text = "" if reason else embedding_word(embedding.name, *services.count_tokens.reader())
    return {"name": embedding.name, "vectors": embedding.vectors, **_written(text, reason)}


def _written(text: str, reason: str) -> dict[str, str]:
    return {"text": text, "reason": "" if text else (reason or UNWRITABLE)[:LONGEST_REASON]}
