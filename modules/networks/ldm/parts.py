"""The parts of a checkpoint before its weights are read: configs, and the source of each parameter.

A checkpoint is a single file in Stable Diffusion's layout, or a diffusers folder.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from transformers import CLIPTextModel, CLIPTextModelWithProjection

from modules.base.errors import WebuiError
from modules.networks.files.checkpoints import family_of_folder
from modules.networks.files.detect import (
    UNET,
    VAE,
    FileType,
    detect,
    family_named,
    require_supported,
    with_text_model,
)
from modules.networks.files.foreign import FIELD
from modules.networks.files.listing import Header
from modules.networks.ldm.building import Names, old_vae_name, read_part
from modules.networks.ldm.layout import (
    Config,
    read_config,
    scaling_factor,
    scheduler_config,
    scheduler_values,
    text_config,
    vae_config,
)
from modules.networks.ldm.names import unet_ldm_name, vae_ldm_name
from modules.networks.ldm.openclip import as_transformers
from modules.networks.ldm.prediction import folder_notes, prediction_notes
from modules.networks.ldm.shared_texts import EncoderNeeds, SharedText, fitting
from modules.networks.ldm.sidecar import Sidecar, Values, read_sidecar
from modules.networks.ldm.unet_layout import unet_config
from modules.networks.model import FileSigns, MissingVae
from modules.networks.weights import Weights, merged, open_weights

TextKind = type[CLIPTextModel] | type[CLIPTextModelWithProjection]

log = logging.getLogger(__name__)

_CLIP_H_LAYERS: Final = 24  # of OpenCLIP ViT-H, the text encoder of Stable Diffusion 2
_WEIGHT_FILES: Final = ("diffusion_pytorch_model", "model", "pytorch_model")


@dataclass(frozen=True)
class TextSlot:
    """A text encoder of a family.

    label: the name shown to users.  prefix: of its tensors in a single file.  folder: its subfolder in a diffusers
    folder.  config: its file in `configs/<family>`.  is_openclip: whether single files have it in OpenCLIP's layout.
    unread: the number of unused layers at its end; diffusers folders leave them out.
    """

    label: str
    prefix: str
    folder: str
    config: str
    kind: TextKind = CLIPTextModel
    is_openclip: bool = False
    unread: int = 0


@dataclass(frozen=True)
class Layout:
    """How the checkpoints of a family differ from those of related families.

    configs: the folder of its default configs.  size_numbers: how many numbers (sizes, crops) the UNet takes besides
    the pooled prompt; 0 if it takes neither.
    """

    configs: str
    text_slots: tuple[TextSlot, ...]
    size_numbers: int = 0


@dataclass(frozen=True)
class TextPart:
    """A text encoder that has not been built yet."""

    kind: TextKind
    config: Config
    weights: Weights
    names: Names


@dataclass(frozen=True)
class Parts:
    """Weights that have not been read yet, the configs to build from, and the source of each parameter.

    scaling_factor: of latents, even if there is no VAE inside.  is_prediction_known: whether any note or tensor says
    what the UNet predicts.
    """

    family: FileType
    unet_config: Config
    vae_config: Config
    scheduler: Config
    unet: Weights
    vae: Weights
    unet_names: Names
    vae_names: Names
    texts: tuple[TextPart, ...]
    scaling_factor: float
    layout: Layout = field(default_factory=lambda: Layout("", ()))
    is_prediction_known: bool = True


def belongs_to(signs: FileSigns, family: str) -> bool:
    """Whether a file or folder is a checkpoint of `family`, a name from `schema/families.py`."""
    kind = family_named(signs.kind) if signs.kind else detect(signs.header)
    return kind.family == family


def missing_parts(keys: Sequence[str], slots: Sequence[TextSlot]) -> list[str]:
    """The parts (UNet, VAE, text encoders) that are missing from a single file."""
    parts = {"UNet": UNET, "VAE": VAE} | {slot.label: slot.prefix for slot in slots}
    return [part for part, prefix in parts.items() if not any(key.startswith(prefix) for key in keys)]


def open_single(
    path: Path, layout_of: Callable[[FileType], Layout], needs_vae: bool, shared: Sequence[Path] = ()
) -> Parts:
    """The parts of a single file; missing text encoders come from the files `shared`.

    Raises WebuiError if a part is missing or the file is of another kind; MissingVae.
    """
    weights = open_weights(path).renamed(with_text_model)
    family = require_supported(detect(weights.header), path)
    layout = layout_of(family)
    sidecar, configs, header = read_sidecar(path), layout.configs, weights.header
    _require_parts(path, header, layout, needs_vae, shared)
    unet = unet_config(header, sidecar, path.name, family=configs)
    texts = _texts(path, weights, layout, unet, sidecar, shared)
    if needs_vae and not _has(header, VAE):
        raise MissingVae(f"{path.name} has no VAE inside.", "Use a complete checkpoint.", field=FIELD)
    vae: Config = vae_config(header, sidecar, path.name, family=configs) if needs_vae else {}
    if layout.size_numbers:
        unet |= _with_size_ids(unet, texts[-1].config["projection_dim"], layout.size_numbers, path.name)
    notes = prediction_notes(path, header, sidecar)
    return Parts(
        family, unet, vae, scheduler_config(header, sidecar, path.name, configs, notes), weights, weights,
        unet_names=lambda name: [UNET + unet_ldm_name(name, unet)],
        vae_names=lambda name: [VAE + vae_ldm_name(name, vae)],
        texts=texts,
        scaling_factor=scaling_factor(sidecar, path.name, configs),
        layout=layout,
        is_prediction_known=notes.prediction is not None,
    )  # fmt: skip


def _require_parts(path: Path, header: Header, layout: Layout, needs_vae: bool, shared: Sequence[Path]) -> None:
    """Raises WebuiError if a part is missing that cannot come from another file."""
    missing = [part for part in missing_parts(tuple(header), layout.text_slots) if needs_vae or part != "VAE"]
    texts = [slot.label for slot in layout.text_slots if slot.label in missing]
    if missing == ["VAE"] or (texts and shared and "UNet" not in missing):
        return
    if missing:
        cure = "Use a complete checkpoint."
        if texts and "UNet" not in missing:
            cure = f"Put {'one' if len(texts) == 1 else 'both'} into models/text_encoder, or use a complete checkpoint."
        raise WebuiError(f"{path.name} has no {' and no '.join(missing)} inside.", cure, field=FIELD)


def _texts(
    path: Path, weights: Weights, layout: Layout, unet: Config, sidecar: Sidecar, shared: Sequence[Path]
) -> tuple[TextPart, ...]:
    """The text encoders; missing ones come from `shared`. Raises WebuiError if none of those fit."""
    slots, configs = layout.text_slots, layout.configs
    inside = {
        slot: _text_in_single(weights, slot, i, sidecar, configs)
        for i, slot in enumerate(slots)
        if _has(weights.header, slot.prefix)
    }
    missing = [slot for slot in slots if slot not in inside]
    if not missing:
        return tuple(inside.values())
    width = unet["cross_attention_dim"] - sum(text.config["hidden_size"] for text in inside.values())
    has_summary = missing[-1].kind is CLIPTextModelWithProjection
    summary_and_sizes = unet.get("projection_class_embeddings_input_dim") or 0
    needs = EncoderNeeds(len(missing), width, has_summary, summary_and_sizes, layout.size_numbers or 1)
    found = fitting(needs, shared, path.stem)
    if not found:
        names = ", ".join(sorted(file.name for file in shared)[:3])
        raise WebuiError(
            f"{path.name} has no {' and no '.join(slot.label for slot in missing)} inside, and nothing in "
            f"models/text_encoder fits ({names}): its states have to be {width} wide.",
            "Put one that fits there, or use a complete checkpoint.",
            field=FIELD,
        )
    log.info("%s uses the text encoders %s.", path.name, ", ".join(text.weights.name for text in found))
    outside = {
        slot: _text_outside(text, slot, sidecar.of_text_encoder(slots.index(slot)), configs)
        for slot, text in zip(missing, found, strict=True)
    }
    return tuple((inside | outside)[slot] for slot in slots)


def _has(header: Header, prefix: str) -> bool:
    return any(key.startswith(prefix) for key in header)


def _text_outside(text: SharedText, slot: TextSlot, configured: Values, family: str) -> TextPart:
    """A text encoder from a separate file. In transformers' layout, Stable Diffusion 2's lacks the unused layers;
    OpenCLIP's files have all layers."""
    config = text_config(text.weights.header, configured, text.weights.name, "", family, slot.config)
    if text.is_openclip or config["num_hidden_layers"] == _CLIP_H_LAYERS:
        config["num_hidden_layers"] = max(1, config["num_hidden_layers"] - slot.unread)
    return TextPart(slot.kind, config, text.weights, lambda name: [name.removeprefix("text_model.")])


def _text_in_single(weights: Weights, slot: TextSlot, index: int, sidecar: Sidecar, family: str) -> TextPart:
    prefix = slot.prefix
    if slot.is_openclip:
        weights, prefix = as_transformers(weights, prefix), ""
    configured = sidecar.of_text_encoder(index)
    config = text_config(weights.header, configured, weights.name, prefix, family, slot.config)
    config["num_hidden_layers"] = max(1, config["num_hidden_layers"] - slot.unread)
    return TextPart(slot.kind, config, weights, lambda name: [prefix + name.removeprefix("text_model.")])


def _with_size_ids(unet: Config, pooled: int, numbers: int, name: str) -> Config:
    """The config's width of each embedded size number: the UNet's inputs without the pooled prompt, by `numbers`.
    Raises WebuiError if `numbers` does not divide them."""
    each, left = divmod(unet["projection_class_embeddings_input_dim"] - pooled, numbers)
    if left or each < 1:
        raise WebuiError(
            f"{name} has a layout that cannot be loaded: its UNet takes "
            f"{unet['projection_class_embeddings_input_dim']} values beside the prompt, of which {pooled} are the "
            f"prompt's, and the rest is not {numbers} times the same.",
            "Use a usual checkpoint.",
            field=FIELD,
        )
    return {"addition_time_embed_dim": each}


# ---- diffusers folders ----


def open_folder(path: Path, layout_of: Callable[[FileType], Layout], needs_vae: bool) -> Parts:
    """The parts of a diffusers folder. Raises WebuiError like `open_single`; MissingVae."""
    family = family_of_folder(path)
    require_supported(family, path)
    unet_config = read_part(path / "unet" / "config.json", path.name)
    layout = layout_of(family)
    scheduler = read_config(layout.configs, "scheduler")
    if (path / "scheduler" / "scheduler_config.json").is_file():
        stored = read_part(path / "scheduler" / "scheduler_config.json", path.name)
        _require_schedule(stored, path.name)
        scheduler |= {key: stored[key] for key in (*scheduler, "rescale_betas_zero_snr") if key in stored}
    scheduler |= scheduler_values(folder_notes(path))
    vae_config: Config = {}
    if needs_vae:
        if not (path / "vae").is_dir():
            raise MissingVae(f"{path.name} lacks vae/config.json.", "Download the folder again.", field=FIELD)
        vae_config = read_part(path / "vae" / "config.json", path.name)
    unet = component(path, "unet")
    return Parts(
        family,
        _public(unet_config),
        _public(vae_config),
        scheduler,
        unet=unet,
        vae=component(path, "vae") if needs_vae else unet,
        unet_names=lambda name: [name],
        vae_names=lambda name: [name, old_vae_name(name)],
        texts=tuple(_text_in_folder(path, slot, layout.configs) for slot in layout.text_slots),
        scaling_factor=vae_config.get("scaling_factor", read_config(layout.configs, "vae")["scaling_factor"]),
        layout=layout,
    )


def _text_in_folder(path: Path, slot: TextSlot, family: str) -> TextPart:
    config = read_config(family, slot.config)
    stored = read_part(path / slot.folder / "config.json", path.name)
    # The stored ids of start and end markers are wrong in most files ("eos_token_id": 2); the tokenizer's are right.
    config |= {key: stored[key] for key in config if key in stored and not key.endswith("_token_id")}
    weights = component(path, slot.folder)
    return TextPart(slot.kind, config, weights, lambda name: [name, f"text_model.{name}"])


def _require_schedule(stored: Config, name: str) -> None:
    """Raises WebuiError, with the key, for noise levels or a prediction that are not supported."""
    known: Mapping[str, tuple[object, ...]] = {
        "beta_schedule": ("linear", "scaled_linear"),
        "prediction_type": ("epsilon", "v_prediction"),
        "trained_betas": (None,),
    }
    for key, values in known.items():
        if (value := stored.get(key, values[0])) not in values:
            expected = " or ".join(map(str, values))
            raise WebuiError(
                f"{name}: scheduler_config.json has {key}={ascii(value)[:60]}, expected {expected}.",
                "Use another checkpoint.",
                field=FIELD,
            )


def _public(config: Config) -> Config:
    return {key: value for key, value in config.items() if not key.startswith("_")}


def component(folder: Path, part: str) -> Weights:
    """The weights of one part, whole or sharded. Prefers safetensors to pickles, and full precision to `.fp16`."""
    for suffix in (".safetensors", ".bin"):
        for stem in _WEIGHT_FILES:
            for variant in ("", ".fp16", ".non_ema"):
                file = folder / part / f"{stem}{variant}{suffix}"
                if file.is_file():
                    return open_weights(file)
            shards = sorted((folder / part).glob(f"{stem}-*-of-*{suffix}"))
            if shards:
                return merged([open_weights(shard) for shard in shards])
    raise WebuiError(f"{folder.name} has no weights in its folder {part}.", "Download it again.", field=FIELD)
