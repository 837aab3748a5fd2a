"""The available models: what the page's dropdowns list and what a request may name."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from modules.base.errors import WebuiError
from modules.base.names import DIGITS, FEWEST_DIGITS, TITLE, best_match, folded, name_in_tag, shown
from modules.schema.families import Default, FamilyTraits, Shown, traits_of
from modules.schema.sampler_names import SAMPLERS, SCHEDULES
from modules.schema.sizes import ModelSizes, Resolution
from modules.schema.upscalers import UPSCALERS, Upscaler, names_of, of_pictures

LONGEST_NAME = 1000  # characters, folders included; nothing longer is compared
SHORT_HASH = 10  # hex digits shown to people, as in A1111's titles
SUFFIXES: Final = ("safetensors", "ckpt")  # of single-file checkpoints
AUTOMATIC, OWN_VAE = "Automatic", "None"  # choices besides a VAE file
HIRES_STRENGTH = "hr_denoising_strength"  # hires. fix's denoising strength, in the JSON beside a checkpoint
VAE_ENDINGS = (".vae.safetensors", ".vae.ckpt", ".vae.pt")  # of a checkpoint's own VAE file


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk: a single file or a diffusers folder.

    `name` is its path below the models folder. `defaults` come from the small JSON beside it (width, height, steps,
    cfg_scale …). `hash` is the sha256 of the weights in hex, "" until it has been computed in the background. `what`
    describes in words what its header shows; `family` is the name of its row in `schema/families.py`; both are "" while
    unknown. `reason` says why it cannot be loaded, "" if no problem is known. `shown` is the network's extra input
    beside the latent. `text_encoders` are the files that a checkpoint without a text encoder may take one from.
    """

    name: str
    path: Path
    hash: str = ""
    defaults: Mapping[str, Default] = field(default_factory=dict)
    what: str = ""
    family: str = ""
    reason: str = ""
    shown: Shown = ""
    text_encoders: tuple[Path, ...] = ()

    @property
    def label(self) -> str:
        """The name shown in lists: A1111's title, `file.safetensors [0123456789]`, marked if it cannot be loaded."""
        title = f"{self.name} [{self.hash[:SHORT_HASH]}]" if self.hash else self.name
        return f"{title} (cannot be loaded: {self.what or 'damaged'})" if self.reason else title

    @property
    def stem(self) -> str:
        """File name without folder and suffix: the `Model` of an infotext."""
        return _without_suffix(shown(self.path.name))

    @property
    def traits(self) -> FamilyTraits:
        """The traits of its family."""
        return traits_of(self.family)

    @property
    def sizes(self) -> ModelSizes:
        """The family's sizes, unless `defaults` give a size; one side alone means both."""
        sides = [side for name in ("width", "height") if isinstance(side := self.defaults.get(name), int)]
        native = (Resolution(sides[0], sides[-1]),) if sides else ()
        return ModelSizes(self.traits.sizes, native or self.traits.trained_on)

    def form_defaults(self, kind: str) -> dict[str, Default]:
        """Its default values for a form, by field name: those of `defaults`, then those of the family.

        txt2img's `denoising_strength` is the one of hires. fix.
        """
        width, height = self.sizes.native
        values = {**self.traits.presets, "width": width, "height": height, **self.defaults}
        of_hires = values.pop(HIRES_STRENGTH, None)
        if kind == "txt2img":
            values.pop("denoising_strength", None)
            if of_hires is not None:
                values["denoising_strength"] = of_hires
        return values


NO_CHECKPOINT: Final = Checkpoint("", Path())  # for a job that needs none


@dataclass(frozen=True)
class Lora:
    """A LoRA file. `name` is the file name without suffix, `alias` the name its trainer gave it, "" if none.

    `hash` has twelve hex digits (A1111's "Lora hashes"), "" while unknown. `metadata` is a short form of the file's
    metadata. `reason` says why it cannot be read, "" if it can. Until its header `is_read`, only its name and path are
    known.
    """

    name: str
    path: Path
    alias: str = ""
    hash: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False)
    reason: str = ""
    has_picture: bool = False
    is_read: bool = True


@dataclass(frozen=True)
class Embedding:
    """A textual inversion's file: `name` is the word, which is the file name without suffix.

    It stands for `vectors` vectors of length `width`; for XL, `width` is the sum of `widths`, one per text encoder.
    `changed` is the file's modification time. `reason` says why no checkpoint can use it, "" if some can. `within` is
    the prefix of its keys in a LoRA file, "" if it has its own file. The rest is the trainer's metadata.
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
    widths: tuple[int, ...] = ()
    within: str = ""

    def unusable_with(self, width: int) -> str:
        """Why a text encoder of this `width` cannot use it, "" if it can; 0 means that the width is not known yet."""
        if self.reason or width in (0, self.width):
            return self.reason
        if len(self.widths) > 1:
            return f"{self.path.name} is made for Stable Diffusion XL, which has two text encoders."
        return f"{self.path.name} has vectors {self.width} wide, but the checkpoint's text encoder is {width} wide."


@dataclass(frozen=True)
class Hypernetwork:
    """A hypernetwork file; `name` is the file name without suffix."""

    name: str
    path: Path


@dataclass(frozen=True)
class ControlModel:
    """A ControlNet file. `name` is the file name without suffix, `hash` A1111's old model hash (eight hex digits).

    >>> ControlModel("control_v11p_sd15_canny", Path(), "d14c016b").label
    'control_v11p_sd15_canny [d14c016b]'
    """

    name: str
    path: Path
    hash: str = ""

    @property
    def label(self) -> str:
        """The name in lists and infotexts."""
        return f"{self.name} [{self.hash}]" if self.hash else self.name


@dataclass(frozen=True)
class Vae:
    """A VAE file. `name` is the file name, `hash` the sha256 in hex, "" while unknown."""

    name: str
    path: Path
    hash: str = ""


def _without_suffix(name: str) -> str:
    """The name without a known suffix; any other dots stay, because the names of diffusers folders may have them."""
    stem, _, suffix = name.rpartition(".")
    return stem if stem and suffix.lower() in SUFFIXES else name


# The names that mean a checkpoint, the fullest first; the last is A1111's `model_name` for a file in a subfolder.
CALLED: Final[tuple[Callable[[Checkpoint], str], ...]] = (
    lambda checkpoint: checkpoint.name,
    lambda checkpoint: _without_suffix(checkpoint.name),
    lambda checkpoint: shown(checkpoint.path.name),
    lambda checkpoint: checkpoint.stem,
    lambda checkpoint: _without_suffix(checkpoint.name).replace("/", "_"),
)

LORA_CALLED: Final[tuple[Callable[[Lora], str], ...]] = (
    lambda lora: lora.name,
    lambda lora: lora.alias,
    lambda lora: name_in_tag(lora.name),
)


def usable(embeddings: Iterable[Embedding], width: int) -> tuple[Embedding, ...]:
    """The embeddings that a text encoder of this `width` can use."""
    return tuple(embedding for embedding in embeddings if not embedding.unusable_with(width))


@dataclass(frozen=True)
class Catalog:
    """All installed models, as lists that `Control.choices` refers to by name."""

    checkpoints: tuple[Checkpoint, ...] = ()
    loras: tuple[Lora, ...] = ()
    embeddings: tuple[Embedding, ...] = ()
    vaes: tuple[Vae, ...] = ()
    hypernetworks: tuple[Hypernetwork, ...] = ()
    upscalers: tuple[Upscaler, ...] = UPSCALERS
    control_models: tuple[ControlModel, ...] = ()

    @cached_property
    def without_notes(self) -> "Catalog":
        """The same names without metadata, for a job to carry to the engine process.

        No job reads the metadata of LoRAs. Extensions' upscalers are sent by name: the engine process has loaded the
        extensions itself, and their functions may not be picklable.
        """
        loras = tuple(replace(lora, metadata={}) for lora in self.loras)
        upscalers = tuple(replace(row, function="") if callable(row.function) else row for row in self.upscalers)
        return replace(self, loras=loras, upscalers=upscalers)

    def names(self, which: str) -> tuple[str, ...]:
        """The labels of one list: checkpoints, loras, vaes, samplers, schedulers, upscalers (for pictures) or
        hr_upscalers (for latents and pictures)."""
        return {
            "checkpoints": tuple(c.name for c in self.checkpoints),
            "loras": tuple(lora.name for lora in self.loras),
            "vaes": (AUTOMATIC, OWN_VAE, *dict.fromkeys(vae.name for vae in self.vaes)),
            "samplers": tuple(s.name for s in SAMPLERS),
            "schedulers": tuple(s.name for s in SCHEDULES),
            "upscalers": names_of(of_pictures(self.upscalers)),
            "hr_upscalers": names_of(self.upscalers),
        }[which]

    @property
    def first_checkpoint(self) -> Checkpoint:
        """The default checkpoint: the first whose header shows that it can be loaded, else one not examined yet.

        Raises WebuiError if there is no checkpoint.
        """
        if not self.checkpoints:
            raise WebuiError(
                "There is no checkpoint.",
                "Put a .safetensors file in models/Stable-diffusion.",
                "sd_model_checkpoint",
            )
        return min(self.checkpoints, key=lambda one: (bool(one.reason), not one.what))

    def checkpoint(self, name: str) -> Checkpoint:
        """By name or file name, with or without suffix, by a model hash of at least eight digits, or by `name [hash]`.

        "" means the first that can be loaded. Prefers an exact match, then ignores letter case, Unicode form and the
        kind of slash. Raises WebuiError with the nearest name.
        """
        first = self.first_checkpoint
        text = name[:LONGEST_NAME]
        if not text.strip():
            return first
        found = best_match(text, self.checkpoints, *CALLED)
        if found is None and (title := TITLE.fullmatch(text.strip())):
            found = self._named_and_hashed(title["name"], title["digits"].lower())
        found = found or next(iter(self.with_hash(text.strip())), None)
        if found is None and text.rstrip().endswith("]"):  # a title whose brackets hold no hash
            found = best_match(text.rpartition(" [")[0], self.checkpoints, *CALLED)
        if found is not None:
            return found
        near = difflib.get_close_matches(name[:100], [c.name for c in self.checkpoints], 1, 0.0)
        raise WebuiError(f"no checkpoint named {name[:100]!r}; did you mean {near[0]!r}?", field="sd_model_checkpoint")

    def with_hash(self, digits: str) -> tuple[Checkpoint, ...]:
        """The checkpoints whose hash is known and begins with `digits`; none for fewer than eight."""
        text = digits.lower()
        if len(text) < FEWEST_DIGITS:
            return ()
        return tuple(checkpoint for checkpoint in self.checkpoints if checkpoint.hash.startswith(text))

    def _named_and_hashed(self, name: str, digits: str) -> Checkpoint | None:
        """The file with this hash, preferably also with this name; if no file has the hash, the file of this name."""
        same = self.with_hash(digits)
        return best_match(name, same, *CALLED) or next(iter(same), None) or best_match(name, self.checkpoints, *CALLED)

    def checkpoint_of_text(self, name: str, digits: str) -> tuple[Checkpoint, str]:
        """(the checkpoint that an infotext's "Model" and "Model hash" mean, a note about it or "").

        `name` or `digits` may be "". The hash decides, whatever the file is called; if several files have it, the name
        decides among them. Raises WebuiError if no checkpoint has the hash or the name.
        """
        found = None
        if DIGITS.fullmatch(digits.lower()):
            found = self._named_and_hashed(name, digits.lower())
        elif name:
            found = self.checkpoint(name)
        if found is None:
            raise WebuiError(f"no checkpoint named {name or digits!r}.", field="sd_model_checkpoint")
        if not digits or found.hash.startswith(digits.lower()):
            return found, ""
        is_now = f"has the hash {found.hash[:SHORT_HASH]}" if found.hash else "has not been hashed yet"
        return found, f"The picture was made with a different {name!r}: its hash was {digits}, the file here {is_now}."

    def lora(self, name: str) -> Lora:
        """By file name, alias or the name as written in a tag; without an exact match, ignoring case and Unicode form.

        Raises WebuiError with the nearest name.
        """
        if not self.loras:
            raise WebuiError(
                f"prompt: there is no LoRA {name[:100]!r}; no LoRAs are installed.",
                "Put its .safetensors file in models/Lora.",
                "prompt",
            )
        text = name[:LONGEST_NAME]
        found = best_match(text, self.loras, *LORA_CALLED) if text.strip() else None
        if found is not None:
            return found
        names = [*self.names("loras"), *(lora.alias for lora in self.loras if lora.alias)]
        near = difflib.get_close_matches(text[:100], names, 1, 0.0)
        raise WebuiError(f"prompt: there is no LoRA {name[:100]!r}; did you mean {near[0]!r}?", "", "prompt")

    def hypernetwork(self, name: str) -> Hypernetwork | None:
        """By file name, preferably an exact match, else ignoring letter case and Unicode form; None if not found."""
        text = name[:LONGEST_NAME]
        return best_match(text, self.hypernetworks, lambda one: one.name) if text.strip() else None

    def control_model(self, name: str) -> ControlModel:
        """By file name with or without its hash, ignoring letter case, or by a part of the name that only one has.

        Raises WebuiError with the nearest name.
        """
        text = name[:LONGEST_NAME].strip()
        bare = text.rpartition(" [")[0] if text.endswith("]") else text
        found = best_match(text, self.control_models, lambda one: one.label) or best_match(
            bare, self.control_models, lambda one: one.name, lambda one: one.path.name
        )
        if found is None:
            like = [one for one in self.control_models if bare and folded(bare) in folded(one.name)]
            found = like[0] if len(like) == 1 else None
        if found is not None:
            return found
        if not self.control_models:
            raise WebuiError(
                f"controlnet: there is no ControlNet {name[:100]!r}; none is installed.",
                "Put its file in models/ControlNet.",
                "controlnet",
            )
        near = difflib.get_close_matches(name[:100], [one.name for one in self.control_models], 1, 0.0)
        raise WebuiError(
            f"controlnet: there is no ControlNet {name[:100]!r}; did you mean {near[0]!r}?", "", "controlnet"
        )

    def vae(self, name: str) -> Vae | None:
        """By file name, with or without suffix, or hash of at least eight digits; None for "Automatic" and "None".

        Prefers an exact match, then ignores letter case and Unicode form. Raises WebuiError with the nearest name.
        """
        text = name[:LONGEST_NAME]
        if folded(text) in (AUTOMATIC.lower(), OWN_VAE.lower()):
            return None
        found = best_match(text, self.vaes, lambda vae: vae.name, lambda vae: vae.path.stem) if text.strip() else None
        digits = text.strip().lower()
        if found is None and DIGITS.fullmatch(digits):
            found = next((vae for vae in self.vaes if vae.hash.startswith(digits)), None)
        if found is not None:
            return found
        near = difflib.get_close_matches(name[:100], self.names("vaes"), 1, 0.0)
        raise WebuiError(
            f"no VAE named {name[:100]!r}; did you mean {near[0] if near else AUTOMATIC!r}?",
            "" if self.vaes else "Put its file in models/VAE.",
            "sd_vae",
        )

    def vae_of_text(self, name: str, digits: str) -> Vae:
        """The VAE of an infotext: the file with this hash, else the one with this name.

        Raises WebuiError with the nearest name.
        """
        if DIGITS.fullmatch(digits):
            same = [vae for vae in self.vaes if vae.hash.startswith(digits)]
            if same:
                return best_match(name, same, lambda vae: vae.name, lambda vae: vae.path.stem) or same[0]
        found = self.vae(name)
        if found is None:
            raise WebuiError(f"no VAE named {name[:100]!r}.", field="sd_vae")
        return found

    def vae_choice(self, name: str) -> str:
        """`name` as the list spells it. Raises WebuiError with the nearest name."""
        vae = self.vae(name)
        if vae is not None:
            return vae.name
        return AUTOMATIC if folded(name) == AUTOMATIC.lower() else OWN_VAE

    def vae_for(self, name: str, checkpoint: Checkpoint) -> Vae | None:
        """The file that the setting `name` means for a checkpoint; None means the VAE inside the checkpoint.

        "Automatic" is a file with the checkpoint's name and one of `VAE_ENDINGS`, preferably in the same folder.
        Raises WebuiError with the nearest name.
        """
        vae = self.vae(name)
        if vae is not None or self.vae_choice(name) == OWN_VAE:
            return vae
        its_names = [folded(f"{checkpoint.stem}{ending}") for ending in VAE_ENDINGS]
        named = [vae for vae in self.vaes if folded(vae.path.name) in its_names]
        named.sort(key=lambda vae: its_names.index(folded(vae.path.name)))
        beside = (vae for vae in named if vae.path.parent == checkpoint.path.parent)
        return next(beside, next(iter(named), None))
