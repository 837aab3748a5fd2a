"""Reproduces a picture from its infotext: what to run, how close the result is, and what may explain a difference.

Pure functions: the caller (the command `reproduce`, or the page via the queue) runs the recipe and supplies the pixels.
"""

import contextlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import modules
from modules.base.errors import WebuiError
from modules.base.names import FEWEST_DIGITS
from modules.base.picture import Picture
from modules.infotext.control import SOURCE
from modules.infotext.grammar import Infotext
from modules.infotext.parse import parse
from modules.infotext.read import to_fields
from modules.prompts.tags import HYPERNETWORK, NETWORK_KINDS, Tag, rewritten, take_tags
from modules.schema.catalog import OWN_VAE, Catalog, Checkpoint
from modules.schema.control import ControlUnit
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.settings import Settings

HASHES = re.compile(r"([^,:]+): *([0-9a-f]+)")  # of "Lora hashes" and "TI hashes"
NETWORK_KEYS = {"Lora hashes": "LoRA", "TI hashes": "embedding"}
# A text with one of these keys belongs to a masked picture.
MASK_KEYS = ("Mask hash", "Mask blur", "Mask mode", "Masked content")
# So does a text with one of these, unless the picture was outpainted.
AREA_KEYS = ("Inpaint area", "Soft inpainting enabled")
OUTPAINT_KEYS = ("Outpaint left", "Outpaint right", "Outpaint top", "Outpaint bottom")
CONTROL = "ControlNet "  # prefix of the pairs of control units and of the notes about them
LOSSY = ("JPEG", "WEBP", "AVIF")

Kept = Callable[[str], Picture | None]
"""sha256 -> the stored picture with that hash, or None."""

HashOf = Callable[[Path], str]
"""A checkpoint file -> the sha256 of its weights. Called only if no name and no known hash identifies a file."""


@dataclass(frozen=True)
class Recipe:
    """What to run. `causes` are sentences, known before the run, that may explain a difference."""

    request: GenerationRequest
    settings: Settings
    checkpoint: Checkpoint
    text: Infotext
    causes: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """How close a picture is to its original.

    `differing` of `pixels` pixels differ; `largest` is the largest difference of a channel (0 to 255); `psnr` is in dB,
    infinite for equal pictures. If the sizes differ, none of the three is known.
    """

    pixels: int
    differing: int | None
    largest: int | None
    psnr: float | None
    causes: tuple[str, ...]

    @property
    def is_identical(self) -> bool:
        return self.differing == 0

    def sentences(self) -> list[str]:
        """The report as text, one sentence per line."""
        if self.is_identical:
            return ["identical"]
        if self.differing is None or self.largest is None or self.psnr is None:
            return ["The sizes differ.", *self.causes]
        share = 100 * self.differing / self.pixels
        measured = (
            f"{self.differing} of {self.pixels} pixels differ ({share:.2g} %), by {self.largest} of 255 at most; "
            f"PSNR {self.psnr:.1f} dB."
        )
        return [measured, *(self.causes or ("The cause is unknown.",))]


def recipe(
    picture: Picture,
    text: str,
    catalog: Catalog,
    kept: Kept,
    source: Picture | None = None,
    mask: Picture | None = None,
    hash_of: HashOf = lambda path: "",
) -> Recipe:
    """How to reproduce the picture of `text`. `source` and `mask` override the stored ones that the text names.

    Checkpoint and VAE are found by hash, whatever their names are now, else by name; LoRAs by name, else by hash.
    Missing LoRAs are left out.

    Raises WebuiError if the text has no parameters, or if a source, mask or control picture that it needs is missing.
    """
    parsed = parse(text)
    if not parsed.pairs:
        raise WebuiError(
            "The picture has no parameters.", "Use the file as it was saved; many sites remove them.", "picture"
        )
    read = to_fields(parsed, settings=Settings())
    for sentence in read.refused.values():
        raise WebuiError(
            f"{sentence.partition(';')[0]}, so the picture cannot be reproduced.",
            "Its parameters are damaged.",
            "picture",
        )
    fields = dict(read.fields)
    missing = [*_with_networks_of(catalog, parsed, fields), *_missing_words(catalog, parsed)]
    causes = [*_causes(picture, parsed, missing), *(note for note in read.notes if not note.startswith(CONTROL))]
    fields |= _control(read.units, read.unit_pictures, kept)
    if read.kind == "img2img":
        source = _found("source", "Source hash", "--source", parsed, kept, source, causes)
        fields["init_images"] = (source,)
        if "Depth map hash" in parsed.pairs:
            fields["depth_map"] = _found("depth map", "Depth map hash", "", parsed, kept, None, causes)
        if _is_masked(parsed):
            fields["mask"] = _found("mask", "Mask hash", "--mask", parsed, kept, mask, causes)
            if "Latent mask hash" in parsed.pairs:
                fields["latent_mask"] = _found("latent mask", "Latent mask hash", "", parsed, kept, None, causes)
    model = Img2ImgRequest if read.kind == "img2img" else Txt2ImgRequest
    vae = _vae(catalog, parsed, causes, hash_of)
    settings = Settings().overridden({**read.settings, "sd_vae": vae, "live_previews_enable": False})
    return Recipe(model.parse(fields), settings, _checkpoint(catalog, parsed, causes, hash_of), parsed, tuple(causes))


def compared(original: NDArray[np.uint8], again: NDArray[np.uint8], causes: tuple[str, ...]) -> Report:
    """Compare two uint8 pictures (H, W, 3)."""
    pixels = original.shape[0] * original.shape[1]
    if original.shape != again.shape:
        (height, width), (new_height, new_width) = original.shape[:2], again.shape[:2]
        size = f"The picture has {width}x{height} pixels, the new one {new_width}x{new_height}."
        return Report(pixels, None, None, None, (size, *causes))
    apart = np.abs(original.astype(np.int16) - again.astype(np.int16))
    error = float(np.mean(np.square(apart, dtype=np.float64)))
    psnr = 10 * math.log10(255**2 / error) if error else math.inf
    return Report(pixels, int((apart.max(axis=2) > 0).sum()), int(apart.max()), psnr, causes)


def ran_with(parsed: Infotext, checkpoint_hash: str, device: str, again: str = "") -> tuple[str, ...]:
    """Sentences about differences between the two runs: checkpoint, VAE, networks and device (`device` in words).

    `again` is the new picture's text, which contains the hashes of its networks.
    """
    found: list[str] = []
    recorded = parsed.pairs.get("Model hash", "")
    if recorded and checkpoint_hash and recorded != checkpoint_hash:
        found.append(f"The checkpoint is a different one: its hash is {checkpoint_hash}, the picture's was {recorded}.")
    now = parse(again).pairs
    if "VAE hash" in now and parsed.pairs.get("VAE hash", now["VAE hash"]) != now["VAE hash"]:
        found.append(
            f"The VAE {now.get('VAE', '')!r} is another file: its hash is {now['VAE hash']}, "
            f"the picture's was {parsed.pairs['VAE hash']}."
        )
    for key, kind in NETWORK_KEYS.items():
        hashes = dict(HASHES.findall(now.get(key, "")))
        for name, digits in HASHES.findall(parsed.pairs.get(key, "")):
            if name in hashes and hashes[name] != digits:
                is_now = f"its hash is {hashes[name]}, the picture's was {digits}"
                found.append(f"The {kind} {name.strip()!r} is another file: {is_now}.")
    is_cpu = "cuda" not in device.lower() and "nvidia" not in device.lower()
    if parsed.pairs.get("RNG", "GPU") == "GPU" and is_cpu:
        found.append(
            "Its noise may come from a GPU's random numbers, which this device does not produce; try RNG: NV for a "
            "picture made on a GPU."
        )
    if not is_cpu:
        found.append("A GPU computes in half precision with other attention kernels, which round differently.")
    return tuple(found)


def _is_masked(parsed: Infotext) -> bool:
    keys = MASK_KEYS if any(key in parsed.pairs for key in OUTPAINT_KEYS) else (*MASK_KEYS, *AREA_KEYS)
    return any(key in parsed.pairs for key in keys)


def _with_networks_of(catalog: Catalog, parsed: Infotext, fields: dict[str, Any]) -> list[str]:
    """Keep the installed LoRAs in the prompts, under their current names; returns the names of the others."""
    digits = {name.strip(): digits for name, digits in HASHES.findall(parsed.pairs.get("Lora hashes", ""))}
    missing: set[str] = set()

    def here(tag: Tag, text: str) -> str:
        if not _is_network(tag):
            return text
        if tag.kind in NETWORK_KINDS:
            with contextlib.suppress(WebuiError):
                catalog.lora(tag.name)
                return text
            recorded = digits.get(tag.name, "")
            for lora in catalog.loras:
                if len(recorded) >= FEWEST_DIGITS and lora.hash.startswith(recorded):
                    return text.replace(f"<{tag.kind}:{tag.name}", f"<lora:{lora.name}", 1)
        elif catalog.hypernetwork(tag.name) is not None:
            return text
        missing.add(tag.name)
        return ""

    for field in ("prompt", "hr_prompt"):
        if field in fields:
            fields[field] = rewritten(str(fields[field]), here)
    _, unused = take_tags(parsed.negative_prompt)
    return sorted(missing | {tag.name for tag in unused if _is_network(tag)})


def _is_network(tag: Tag) -> bool:
    return tag.name != "" and tag.kind in (*NETWORK_KINDS, HYPERNETWORK)


def _missing_words(catalog: Catalog, parsed: Infotext) -> list[str]:
    """The embeddings in the text that are not installed."""
    names = [name.strip() for name, _ in HASHES.findall(parsed.pairs.get("TI hashes", ""))]
    here = {embedding.name.replace(":", "").replace(",", "") for embedding in catalog.embeddings}
    return [name for name in dict.fromkeys(names) if name not in here]


def _causes(picture: Picture, parsed: Infotext, missing: list[str]) -> list[str]:
    found: list[str] = []
    version = parsed.pairs.get("Version", "")
    if version and version != f"Palimpsest {modules.__version__}":
        found.append(f"The picture was made by version {version}; this is Palimpsest {modules.__version__}.")
    if missing:
        found.append("Networks that were not used: " + ", ".join(missing) + ".")
    if parsed.pairs.get("Sampler") == "DPM adaptive":
        found.append("DPM adaptive depends on all pictures of a batch, but this one was made alone.")
    if picture.format.upper() in LOSSY:
        found.append(f"The file is a lossy {picture.format.upper()}.")
    return found


def _found(
    what: str, key: str, flag: str, parsed: Infotext, kept: Kept, given: Picture | None, causes: list[str]
) -> Picture:
    """`given`, or the stored picture whose hash is under `key`. Raises WebuiError if it is not stored."""
    recorded = parsed.pairs.get(key, "")
    if given is not None:
        if recorded and given.sha256 != recorded:
            causes.append(f"The given {what} is not the file the picture was made from.")
        return given
    picture = kept(recorded) if recorded else None
    if picture is None:
        raise WebuiError(
            f"The {what} it was made from is missing{f' (sha256 {recorded[:10]}…)' if recorded else ''}.",
            f"Give it with {flag} FILE." if flag else "It cannot be reproduced without it.",
            what,
        )
    return picture


def _control(units: Sequence[ControlUnit], hashes: Sequence[str], kept: Kept) -> dict[str, Any]:
    """The control units with their stored pictures, named by `hashes`. Raises WebuiError for one that is not stored."""
    numbered: list[ControlUnit] = []
    pictures: list[Picture] = []
    for unit, digits in zip(units, hashes, strict=True):
        picture = kept(digits) if digits and digits != SOURCE else None
        if picture is None and digits != SOURCE:
            raise WebuiError(
                f"The picture of the control unit {unit.model!r} is missing.",
                "It cannot be reproduced without it.",
                "controlnet",
            )
        numbered.append(unit.model_copy(update={"image": None if picture is None else len(pictures)}))
        pictures += [] if picture is None else [picture]
    return {"controlnet": tuple(numbered), "control_images": tuple(pictures)} if numbered else {}


def _checkpoint(catalog: Catalog, parsed: Infotext, causes: list[str], hash_of: HashOf) -> Checkpoint:
    name, digits = parsed.pairs.get("Model", ""), parsed.pairs.get("Model hash", "").lower()
    first = catalog.checkpoint("")
    named: Checkpoint | None = None
    with contextlib.suppress(WebuiError):
        named = catalog.checkpoint(name) if name else None
    if len(digits) >= FEWEST_DIGITS:
        if named and named.hash.startswith(digits):
            return named
        known = next((one for one in catalog.checkpoints if one.hash.startswith(digits)), None)
        if known is None and (named is None or named.hash):  # no file has that name, or its known hash differs
            unknown = (one for one in catalog.checkpoints if not one.hash)
            known = next((one for one in unknown if hash_of(one.path).startswith(digits)), None)
        if known:
            return known
    if named is None:
        label = f"{name!r}" if name else "that made it"
        causes.append(f"The checkpoint {label} is not installed; {first.name!r} was used.")
    return named or first


def _vae(catalog: Catalog, parsed: Infotext, causes: list[str], hash_of: HashOf) -> str:
    """The value of the VAE setting for the VAE of the text."""
    name, digits = parsed.pairs.get("VAE", ""), parsed.pairs.get("VAE hash", "").lower()
    if not name and not digits:
        return OWN_VAE
    with contextlib.suppress(WebuiError):
        return catalog.vae_of_text(name, digits).name
    if len(digits) >= FEWEST_DIGITS:
        for vae in catalog.vaes:
            if not vae.hash and hash_of(vae.path).startswith(digits):
                return vae.name
    causes.append(f"It was decoded with the VAE {name or digits!r}, but here with the checkpoint's own.")
    return OWN_VAE
