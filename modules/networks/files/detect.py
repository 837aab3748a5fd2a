"""Identifies a file of tensors by its keys and shapes: a table with one row per family. Does not import torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from modules.base.errors import WebuiError
from modules.networks.files.foreign import FIELD
from modules.networks.files.listing import Header, TensorInfo
from modules.schema.families import Shown

FileKind = Literal["checkpoint", "part", "addition", "unknown"]

UNET: Final = "model.diffusion_model."
VAE: Final = "first_stage_model."
TEXT: Final = "cond_stage_model.transformer.text_model."
_OLD_TEXT: Final = "cond_stage_model.transformer."
_OLD_TEXT_PARTS: Final = ("embeddings.", "encoder.", "final_layer_norm.")
REFINER_TEXT: Final = "conditioner.embedders.0.model."
_TEXTS: Final[Mapping[str, tuple[str, ...]]] = {  # prefixes of keys, by family or kind
    "sd1": (_OLD_TEXT,),
    "sd2": ("cond_stage_model.model.",),
    "sdxl": ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
    "sdxl-refiner": (REFINER_TEXT,),
}
SPLIT_FAMILIES: Final = ("z-image", "flux2-klein")  # families whose single files hold the transformer alone
_FIRST_CONV: Final = f"{UNET}input_blocks.0.0.weight"
_CONTEXT: Final = "attn2.to_k.weight"


@dataclass(frozen=True)
class FileType:
    """One row of the table.

    `label` is the user's term for it, with its article; `cure` says what to do with it if it cannot be loaded as a
    checkpoint. `family` is the checkpoint's row in `schema/families.py`, "" for files that cannot generate pictures;
    `shown` are the network's inputs besides the latent.
    """

    name: str
    kind: FileKind
    label: str
    matches: Callable[[Header], bool]
    supported: bool = False
    cure: str = ""
    family: str = ""
    shown: Shown = ""


def _has_part(*parts: str) -> Callable[[Header], bool]:
    return lambda header: any(part in key for key in header for part in parts)


def _has(*keys: str) -> Callable[[Header], bool]:
    return lambda header: any(key in header for key in keys)


def _unet_inputs(channels: int) -> Callable[[Header], bool]:
    return lambda header: _FIRST_CONV in header and _inputs(header[_FIRST_CONV]) == channels


def _inputs(info: TensorInfo) -> int:
    """The number of input channels or features of a layer; 0 for a tensor that is not the weight of a layer."""
    return info.shape[1] if len(info.shape) > 1 else 0


def _is_xl(header: Header) -> bool:
    if any(key.startswith("cond_stage_model.model.") for key in header):  # SD 2's unCLIP has a label_emb too
        return False
    return any(key.startswith((f"{UNET}label_emb.", "conditioner.embedders.")) for key in header)


def _is_refiner(header: Header) -> bool:
    """Whether the file is XL's refiner, which has only OpenCLIP's text encoder."""
    if any(key.startswith("conditioner.") for key in header):
        return any(key.startswith(REFINER_TEXT) for key in header)
    return _is_xl(header) and _context(header) == {1280}


def _context(header: Header) -> set[int]:
    """The widths of a UNet's cross-attention context."""
    return {_inputs(info) for key, info in header.items() if key.startswith(UNET) and key.endswith(_CONTEXT)}


def _is_sd2(header: Header) -> bool:
    if any(key.startswith("cond_stage_model.model.") for key in header):  # OpenCLIP
        return True
    has_clip = any(key.startswith("cond_stage_model.transformer.") for key in header)
    return not has_clip and (_context(header) == {1024} or _projects_linearly(header))


def _projects_linearly(header: Header) -> bool:
    """Whether the UNet's transformers start with a linear layer (Stable Diffusion 2 and later), not a convolution."""
    ending = ".1.proj_in.weight"
    return any(len(info.shape) == 2 for key, info in header.items() if key.startswith(UNET) and key.endswith(ending))


def _is_embedding(header: Header) -> bool:
    small = len(header) <= 2 and all(len(info.shape) in (1, 2) and info.shape[0] <= 1024 for info in header.values())
    return bool(header) and small and not any("." in key for key in header if key not in ("emb_params", "*"))


_NOT_YET: Final = "Use a Stable Diffusion 1, 2 or XL checkpoint, Z-Image or FLUX.2 Klein."
_NOT_ALONE: Final = "Choose a whole checkpoint."

# The first matching row counts, so specific rows come before general ones.
FAMILIES: Final[tuple[FileType, ...]] = (
    FileType(
        "lora",
        "addition",
        "a LoRA",
        _has_part(
            ".lora_down.",
            ".lora_up.",
            ".lora_A.",
            ".lora_B.",
            ".hada_w1",
            ".lokr_w",
            ".oft_blocks",
            ".oft_diag",
            "lora_unet_",
            ".ia3.",
            ".processor.to_q_lora",
        ),
        cure="Put it into models/Lora.",
    ),
    FileType(
        "controlnet",
        "addition",
        "a ControlNet",
        _has_part(
            "control_model.",
            "input_hint_block.",
            "controlnet_cond_embedding.",
            "zero_convs.",
            "controlnet_down_blocks.",
        ),
        cure="Put it into models/ControlNet.",
    ),
    FileType(
        "flux2",
        "checkpoint",
        "a FLUX.2 dev model",
        lambda h: _has_part("double_stream_modulation_img.")(h) and _has_part("guidance_in.", "guidance_embedder.")(h),
        cure=_NOT_YET,
        family="flux2",
    ),
    FileType(
        "flux2-klein",
        "checkpoint",
        "a FLUX.2 Klein model",
        _has_part("double_stream_modulation_img."),
        supported=True,
        family="flux2-klein",
    ),
    FileType(
        "flux",
        "checkpoint",
        "a Flux model",
        _has_part("double_blocks.0.img_attn.qkv.weight"),
        cure=_NOT_YET,
        family="flux",
    ),
    FileType(
        "z-image",
        "checkpoint",
        "a Z-Image model",
        lambda h: (
            _has("x_pad_token", "model.diffusion_model.x_pad_token", "diffusion_model.x_pad_token")(h)
            and _has_part("cap_embedder.", "context_refiner.")(h)
        ),
        supported=True,
        family="z-image",
    ),
    FileType(
        "lumina2",
        "checkpoint",
        "a Lumina 2 model",
        _has_part("context_refiner.0.attention."),
        cure=_NOT_YET,
        family="lumina2",
    ),
    FileType(
        "sd3",
        "checkpoint",
        "a Stable Diffusion 3 model",
        _has_part("joint_blocks.0.x_block.attn.qkv.weight"),
        cure=_NOT_YET,
        family="sd3",
    ),
    FileType(
        "sdxl-refiner",
        "checkpoint",
        "a Stable Diffusion XL refiner",
        _is_refiner,
        supported=True,
        family="sdxl",
    ),
    FileType(
        "sdxl-edm",
        "checkpoint",
        "a Stable Diffusion XL model with EDM's noise levels (Playground v2.5, CosXL)",
        lambda h: _is_xl(h) and any(key.startswith("edm_") for key in h),
        cure="Its noise levels are not those of Stable Diffusion. Use another checkpoint.",
        family="sdxl",
    ),
    FileType(
        "sdxl-inpaint",
        "checkpoint",
        "a Stable Diffusion XL inpainting model",
        lambda h: _is_xl(h) and _unet_inputs(9)(h),
        supported=True,
        family="sdxl",
        shown="mask",
    ),
    FileType(
        "sdxl-edit",
        "checkpoint",
        "a Stable Diffusion XL InstructPix2Pix model",
        lambda h: _is_xl(h) and _unet_inputs(8)(h),
        supported=True,
        family="sdxl",
        shown="source",
    ),
    FileType("sdxl", "checkpoint", "a Stable Diffusion XL model", _is_xl, supported=True, family="sdxl"),
    FileType(
        "sd2-depth",
        "checkpoint",
        "a Stable Diffusion 2 depth model",
        lambda h: _is_sd2(h) and _unet_inputs(5)(h),
        supported=True,
        family="sd2",
        shown="depth",
    ),
    FileType(
        "sd2-unclip",
        "checkpoint",
        "a Stable Diffusion 2 unCLIP model",
        lambda h: _is_sd2(h) and _has_part(f"{UNET}label_emb.", "embedder.model.")(h),
        cure="It needs a picture's CLIP embedding, which no request can carry yet. Use another checkpoint.",
        family="sd2",
    ),
    FileType(
        "sd2-inpaint",
        "checkpoint",
        "a Stable Diffusion 2 inpainting model",
        lambda h: _is_sd2(h) and _unet_inputs(9)(h),
        supported=True,
        family="sd2",
        shown="mask",
    ),
    FileType(
        "sd2-edit",
        "checkpoint",
        "a Stable Diffusion 2 InstructPix2Pix model",
        lambda h: _is_sd2(h) and _unet_inputs(8)(h),
        supported=True,
        family="sd2",
        shown="source",
    ),
    FileType(
        "sd2",
        "checkpoint",
        "a Stable Diffusion 2 model",
        lambda h: _FIRST_CONV in h and _is_sd2(h),
        supported=True,
        family="sd2",
    ),
    FileType(
        "sd1-inpaint",
        "checkpoint",
        "a Stable Diffusion 1 inpainting model",
        _unet_inputs(9),
        supported=True,
        family="sd1",
        shown="mask",
    ),
    FileType(
        "instruct-pix2pix",
        "checkpoint",
        "an InstructPix2Pix model",
        _unet_inputs(8),
        supported=True,
        family="sd1",
        shown="source",
    ),
    FileType("sd1", "checkpoint", "a Stable Diffusion 1 model", _unet_inputs(4), supported=True, family="sd1"),
    FileType(
        "vae",
        "part",
        "a VAE",
        _has("decoder.conv_in.weight", f"{VAE}decoder.conv_in.weight"),
        cure="Put it into models/VAE.",
    ),
    FileType(
        "unet",
        "part",
        "a UNet alone",
        _has("input_blocks.0.0.weight", "down_blocks.0.resnets.0.conv1.weight", _FIRST_CONV),
        cure=_NOT_ALONE,
    ),
    FileType(
        "upscaler",
        "addition",
        "an upscaler",
        _has("conv_first.weight", "model.0.weight"),
        cure="Put it into models/ESRGAN.",
    ),
    FileType(
        "text-encoder",
        "part",
        "a text encoder",
        _has_part("text_model.encoder.layers.0.", "encoder.block.0.layer.0.SelfAttention."),
        cure=_NOT_ALONE,
    ),
    FileType(
        "embedding",
        "addition",
        "a textual inversion embedding",
        _is_embedding,
        cure="Put it into models/embeddings.",
    ),
)

UNKNOWN: Final = FileType("unknown", "unknown", "of no kind that is known here", lambda header: True, cure=_NOT_YET)

# Pipelines of diffusers folders, by the class named in model_index.json.
PIPELINES: Final[Mapping[str, str]] = {
    "StableDiffusionPipeline": "sd1",
    "StableDiffusionImg2ImgPipeline": "sd1",
    "StableDiffusionInpaintPipeline": "sd1",
    "LatentConsistencyModelPipeline": "sd1",
    "StableDiffusionInstructPix2PixPipeline": "instruct-pix2pix",
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusionXLImg2ImgPipeline": "sdxl",
    "StableDiffusionXLInpaintPipeline": "sdxl",
    "StableDiffusionXLInstructPix2PixPipeline": "sdxl-edit",
    "StableDiffusionDepth2ImgPipeline": "sd2-depth",
    "StableUnCLIPImg2ImgPipeline": "sd2-unclip",
    "StableDiffusion3Pipeline": "sd3",
    "FluxPipeline": "flux",
    "Flux2Pipeline": "flux2",
    "Flux2KleinPipeline": "flux2-klein",
    "Flux2KleinInpaintPipeline": "flux2-klein",
    "ZImagePipeline": "z-image",
    "ZImageImg2ImgPipeline": "z-image",
    "ZImageInpaintPipeline": "z-image",
}


def detect(header: Header) -> FileType:
    """The row of the table that matches the file; `UNKNOWN` if none does."""
    return next((family for family in FAMILIES if family.matches(header)), UNKNOWN)


def with_text_model(key: str) -> str:
    """The key with `text_model.`, which old merges lack in the names of the text encoder."""
    rest = key.removeprefix(_OLD_TEXT)
    return TEXT + rest if rest != key and rest.startswith(_OLD_TEXT_PARTS) else key


def lacks_text_encoder(header: Header, family: FileType) -> bool:
    """Whether a checkpoint of `family` lacks any of its text encoders."""
    if family.family in SPLIT_FAMILIES:
        return True
    needed = _TEXTS.get(family.name) or _TEXTS.get(family.family, ())
    return not all(any(key.startswith(prefix) for key in header) for prefix in needed)


def family_named(name: str) -> FileType:
    """The row called `name`; `UNKNOWN` if there is none."""
    return next((family for family in FAMILIES if family.name == name), UNKNOWN)


def require_supported(family: FileType, path: Path) -> FileType:
    """Returns `family` if it can be loaded. Otherwise raises WebuiError: what the file is, and where it belongs."""
    if family.supported:
        return family
    if family.kind == "checkpoint":
        raise WebuiError(
            f"{path.name} is {family.label}, a family that is not supported yet.", family.cure, field=FIELD
        )
    if family.kind == "unknown":
        raise WebuiError(f"{path.name} is {family.label}.", family.cure, field=FIELD)
    raise WebuiError(f"{path.name} is {family.label}, not a checkpoint.", family.cure, field=FIELD)
