"""The curated list of model files, `configs/catalog.json`."""

import json
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from modules.base.root import CONFIGS

FolderKind = Literal["checkpoint", "vae", "lora", "embedding", "controlnet", "upscaler", "hypernetwork", "text_encoder"]

FOLDERS: Final[dict[FolderKind, str]] = {
    "checkpoint": "Stable-diffusion", "vae": "VAE", "lora": "Lora", "embedding": "embeddings",
    "controlnet": "ControlNet", "upscaler": "ESRGAN", "hypernetwork": "hypernetworks", "text_encoder": "text_encoder",
}  # below the models folder, as in A1111  # fmt: skip
FILE: Final = CONFIGS / "catalog.json"


class CatalogEntry(BaseModel):
    """A recommended file.

    `sha256`, `size` in bytes and `licence` are given if they are published; the hub supplies missing ones at the
    download. `name` is the file's name on this machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9.-]+$")
    title: str
    about: str
    kind: FolderKind
    family: str
    repo: str
    file: str
    name: str
    size: int | None = Field(default=None, gt=0)
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    licence: str = ""


def read_catalog(path: Path = FILE) -> tuple[CatalogEntry, ...]:
    return TypeAdapter(tuple[CatalogEntry, ...]).validate_python(tuple(json.loads(path.read_text("utf-8"))))
