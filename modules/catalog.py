"""The names on offer: what the page's dropdowns list and what a request may name."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modules.errors import WebuiError
from modules.sampler_names import SAMPLERS, SCHEDULES

LONGEST_NAME = 255  # letters of a file's
FEWEST_DIGITS = 8  # of a model hash, to be taken for one
AUTOMATIC, OWN_VAE = "Automatic", "None"  # what may be chosen besides a VAE's file
HIRES_STRENGTH = "hr_denoising_strength"  # of hires fix, in the JSON beside a checkpoint
VAE_ENDING = ".vae.safetensors"  # of a file that belongs to the checkpoint of the same name

Default = int | float | str


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk: a single file or a diffusers folder.

    `name` is its path below the models folder. `defaults` come from the small JSON beside it (width, height, steps,
    cfg_scale …), `hash` is the sha256 of the weights in hex, as far as it is known: it is computed when first loaded.
    """

    name: str
    path: Path
    hash: str = ""
    defaults: Mapping[str, Default] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """File name without folder and suffix: the `Model` of an infotext."""
        return self.path.name if self.path.is_dir() else self.path.stem

    def form_defaults(self, kind: str) -> dict[str, Default]:
        """`defaults` by the names of one form's fields: txt2img's `denoising_strength` is that of hires fix."""
        values = dict(self.defaults)
        of_hires = values.pop(HIRES_STRENGTH, None)
        if kind == "txt2img":
            values.pop("denoising_strength", None)
            if of_hires is not None:
                values["denoising_strength"] = of_hires
        return values


@dataclass(frozen=True)
class Lora:
    """A LoRA file. `name` is its file's without suffix, `alias` the one its trainer gave it, "" if none.

    `hash` has twelve hex digits (A1111's "Lora hashes"), as far as it is known; `metadata` is what the file tells of
    itself; `reason` tells why it cannot be read, "" if it can.
    """

    name: str
    path: Path
    alias: str = ""
    hash: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False)
    reason: str = ""


@dataclass(frozen=True)
class Embedding:
    """A textual inversion's file: `name` is the word, its file's name without suffix.

    It stands for `vectors` vectors, `width` wide each. `changed` is the file's time of change. `reason` tells why no
    checkpoint can use it, "" if some can. The rest is what the trainer noted.
    """

    name: str
    path: Path
    changed: int = 0
    vectors: int = 0
    width: int = 0
    reason: str = ""
    step: int | None = None
    sd_checkpoint: str | None = None
    sd_checkpoint_name: str | None = None

    def unusable_with(self, width: int) -> str:
        """Why a text encoder `width` wide cannot use it, "" if it can; 0 is a width that is not known yet."""
        if self.reason or width in (0, self.width):
            return self.reason
        return f"{self.path.name} has vectors {self.width} wide, the checkpoint's text encoder is {width} wide."


@dataclass(frozen=True)
class Vae:
    """A VAE's file. `name` is its file's, `hash` the sha256 in hex, as far as it is known."""

    name: str
    path: Path
    hash: str = ""


def usable(embeddings: Iterable[Embedding], width: int) -> tuple[Embedding, ...]:
    """Those that a text encoder `width` wide can use."""
    return tuple(embedding for embedding in embeddings if not embedding.unusable_with(width))


@dataclass(frozen=True)
class Catalog:
    """Names by list, as `Control.choices` refers to them."""

    checkpoints: tuple[Checkpoint, ...] = ()
    loras: tuple[Lora, ...] = ()
    embeddings: tuple[Embedding, ...] = ()
    vaes: tuple[Vae, ...] = ()

    def names(self, which: str) -> tuple[str, ...]:
        """The labels of one list: checkpoints, loras, vaes, samplers or schedulers."""
        return {
            "checkpoints": tuple(c.name for c in self.checkpoints),
            "loras": tuple(lora.name for lora in self.loras),
            "vaes": (AUTOMATIC, OWN_VAE, *dict.fromkeys(vae.name for vae in self.vaes)),
            "samplers": tuple(s.name for s in SAMPLERS),
            "schedulers": tuple(s.name for s in SCHEDULES),
        }[which]

    def checkpoint(self, name: str) -> Checkpoint:
        """By name, file name, stem, or model hash of at least eight digits, also as `name [hash]`; the first for "".

        Any letter case. Raises WebuiError with the nearest name.
        """
        if not self.checkpoints:
            raise WebuiError(
                "There is no checkpoint.",
                "Put a .safetensors file into models/Stable-diffusion.",
                "sd_model_checkpoint",
            )
        wanted, _, bracket = name.strip().lower().partition(" [")
        if not wanted:
            return self.checkpoints[0]
        for checkpoint in self.checkpoints:
            if wanted in (checkpoint.name.lower(), checkpoint.path.name.lower(), checkpoint.stem.lower()):
                return checkpoint
        digits = bracket.rstrip("]") or wanted
        for checkpoint in self.checkpoints:
            if len(digits) >= FEWEST_DIGITS and checkpoint.hash.startswith(digits):
                return checkpoint
        near = difflib.get_close_matches(name, [c.name for c in self.checkpoints], 1, 0.0)
        raise WebuiError(f"no checkpoint named {name!r}; did you mean {near[0]!r}?", field="sd_model_checkpoint")

    def lora(self, name: str) -> Lora:
        """By file name or alias, else by either in any letter case. Raises WebuiError with the nearest name."""
        if not self.loras:
            raise WebuiError(
                f"prompt: there is no LoRA {name[:100]!r}; there are none at all.",
                "Put its .safetensors file into models/Lora.",
                "prompt",
            )
        wanted = name.strip()[:LONGEST_NAME]
        for said in (str, str.casefold):
            for called in (lambda lora: lora.name, lambda lora: lora.alias):
                for lora in self.loras:
                    if wanted and said(called(lora)) == said(wanted):
                        return lora
        names = [*self.names("loras"), *(lora.alias for lora in self.loras if lora.alias)]
        near = difflib.get_close_matches(wanted, names, 1, 0.0)
        raise WebuiError(f"prompt: there is no LoRA {name[:100]!r}; did you mean {near[0]!r}?", "", "prompt")

    def vae(self, name: str) -> Vae | None:
        """By file name, with or without suffix, or hash of at least eight digits; None for "Automatic" and "None".

        Any letter case. Raises WebuiError with the nearest name.
        """
        wanted = name.strip()[:LONGEST_NAME].lower()
        if wanted in (AUTOMATIC.lower(), OWN_VAE.lower()):
            return None
        for vae in self.vaes:
            if wanted in (vae.name.lower(), vae.path.stem.lower()):
                return vae
        for vae in self.vaes:
            if len(wanted) >= FEWEST_DIGITS and vae.hash.startswith(wanted):
                return vae
        near = difflib.get_close_matches(name[:LONGEST_NAME], self.names("vaes"), 1, 0.0)
        raise WebuiError(
            f"no VAE named {name[:100]!r}; did you mean {near[0] if near else AUTOMATIC!r}?",
            "" if self.vaes else "Put its file into models/VAE.",
            "sd_vae",
        )

    def vae_of_text(self, name: str, digits: str) -> Vae:
        """By what an infotext says of a VAE: the file with this hash, else the one of this name.

        Raises WebuiError with the nearest name.
        """
        if len(digits) >= FEWEST_DIGITS:
            for vae in self.vaes:
                if vae.hash.startswith(digits):
                    return vae
        found = self.vae(name)
        if found is None:
            raise WebuiError(f"no VAE named {name[:100]!r}.", field="sd_vae")
        return found

    def vae_choice(self, name: str) -> str:
        """`name` as the list has it. Raises WebuiError with the nearest name."""
        vae = self.vae(name)
        if vae is not None:
            return vae.name
        return AUTOMATIC if name.strip().lower() == AUTOMATIC.lower() else OWN_VAE

    def vae_for(self, name: str, checkpoint: Checkpoint) -> Vae | None:
        """The file that the setting `name` means for a checkpoint, None for the checkpoint's own.

        "Automatic" is a file of the checkpoint's name that ends with `.vae.safetensors`, that beside it first. Raises
        WebuiError with the nearest name.
        """
        vae = self.vae(name)
        if vae is not None or self.vae_choice(name) == OWN_VAE:
            return vae
        its_name = f"{checkpoint.stem}{VAE_ENDING}"
        beside = checkpoint.path.with_name(its_name)
        named = [vae for vae in self.vaes if vae.name.lower() == its_name.lower()]
        return next((vae for vae in named if vae.path == beside), next(iter(named), None))
