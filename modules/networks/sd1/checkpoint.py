"""Loading a checkpoint: a single file in Stable Diffusion 1's layout or a diffusers folder, from local files alone."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from modules.base.errors import WebuiError
from modules.clip.bpe import ClipBPE
from modules.networks.device import Place
from modules.networks.files.checkpoints import family_of_folder
from modules.networks.files.detect import PIPELINES, TEXT, UNET, VAE, FileType, detect, family_named, require_supported
from modules.networks.files.foreign import FIELD
from modules.networks.files.listing import HashCache
from modules.networks.model import Family, FileSigns, LoadTools, MissingVae
from modules.networks.sd1 import layout
from modules.networks.sd1.building import (
    Names,
    empty,
    empty_text_encoder,
    filled_vae,
    load_vae,
    old_vae_name,
    read_part,
)
from modules.networks.sd1.layout import Config, Configs
from modules.networks.sd1.model import StableDiffusion
from modules.networks.sd1.upsampling import double_before_convolving
from modules.networks.weights import Weights, fill, merged, open_weights, require_fitting
from modules.sampling.discrete import DiscreteNoise
from modules.schema.catalog import Checkpoint
from modules.schema.families import SD1_TRAITS

log = logging.getLogger(__name__)

_OLD_TEXT: Final = "cond_stage_model.transformer."
_OLD_TEXT_PARTS: Final = ("embeddings.", "encoder.", "final_layer_norm.")
_WEIGHT_FILES: Final = ("diffusion_pytorch_model", "model", "pytorch_model")


def load_checkpoint(
    file: Checkpoint,
    place: Place,
    tokenizer: ClipBPE,
    hashes: HashCache,
    vae: Path | None = None,
    spare: Path | None = None,
    make_room: Callable[[int], None] = lambda needed: None,
) -> StableDiffusion:
    """Load `file` onto `place`; `vae` is a VAE's own file to be used for the one inside, `spare` for want of one.

    `make_room` is told how many bytes it will take, once all that its header shows is in order and before any of its
    weights is read. Raises WebuiError if the file is missing, damaged, a pickle with code in it, of another kind or
    family, or incomplete; MissingVae if all it lacks is a VAE.
    """
    if not file.path.exists():
        raise WebuiError(
            f"The checkpoint {file.name} is no longer there.", "Refresh the list and choose another.", field=FIELD
        )
    opened = _open_folder if file.path.is_dir() else _open_single
    try:
        parts = opened(file.path, needs_vae=vae is None)
        has_own_vae = vae is None
    except MissingVae:
        if spare is None:
            raise
        parts, vae, has_own_vae = opened(file.path, needs_vae=False), spare, False
    unet = empty(UNet2DConditionModel, parts.configs.unet, file.name)
    text_encoder = empty_text_encoder(parts.configs.text_encoder, file.name)
    double_before_convolving(unet)
    require_fitting(unet, parts.unet, parts.unet_names)
    require_fitting(text_encoder, parts.text_encoder, parts.text_names)
    if vae is None:
        require_fitting(empty(AutoencoderKL, parts.configs.vae, file.name), parts.vae, parts.vae_names)
    make_room(_bytes(unet, place.dtype) + _bytes(text_encoder, place.text_dtype))
    device = place.device
    fill(unet, parts.unet, parts.unet_names, device, place.dtype, torch.channels_last)
    fill(text_encoder, parts.text_encoder, parts.text_names, device, place.text_dtype)
    # Not stored in files, so it still stands on the meta device.
    positions = torch.arange(parts.configs.text_encoder["max_position_embeddings"], device=device)
    text_encoder.embeddings.register_buffer("position_ids", positions[None], persistent=False)
    if vae is None:
        autoencoder = filled_vae(parts.configs.vae, parts.vae, parts.vae_names, place)
    else:
        autoencoder = load_vae(vae, place, parts.scaling_factor)
    size = sum(p.numel() * p.element_size() for part in (unet, autoencoder, text_encoder) for p in part.parameters())
    log.info("Loaded %s: %s, %.0f MB", file.name, parts.family.name, size / 1e6)
    return StableDiffusion(
        unet=unet,
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        family=SD1,
        name=file.stem,
        hash=hashes.short(file.path),
        noise=noise_model(parts.configs.scheduler),
        place=place,
        size=size,
        has_own_vae=has_own_vae,
    )


def _bytes(model: torch.nn.Module, dtype: torch.dtype) -> int:
    return sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize


def noise_model(scheduler: Config) -> DiscreteNoise:
    """The noise levels that the checkpoint was trained on, and what it predicts."""
    is_rescaled = scheduler.get("rescale_betas_zero_snr") is True
    return DiscreteNoise(alphas_cumprod(scheduler), scheduler["prediction_type"], is_rescaled)


def alphas_cumprod(scheduler: Config) -> Tensor:
    """ᾱ_t, t = 0…999, fp32: the product of 1 − β with √β linear in t (Rombach et al. 2022), computed in fp64."""
    steps = int(scheduler["num_train_timesteps"])
    if scheduler.get("beta_schedule", "scaled_linear") == "linear":
        betas = torch.linspace(scheduler["beta_start"], scheduler["beta_end"], steps, dtype=torch.float64)
    else:
        first, last = scheduler["beta_start"] ** 0.5, scheduler["beta_end"] ** 0.5
        betas = torch.linspace(first, last, steps, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0).float()


# ---- what the two formats have in common ----


@dataclass(frozen=True)
class _Parts:
    """Weights not read yet, the configs to build from, and where each model's parameter is found."""

    family: FileType
    configs: Configs
    unet: Weights
    vae: Weights
    text_encoder: Weights
    unet_names: Names
    vae_names: Names
    text_names: Names
    scaling_factor: float  # of latents, also where no VAE is inside


def _open_single(path: Path, needs_vae: bool) -> _Parts:
    weights = open_weights(path).renamed(_with_text_model)
    family = require_supported(detect(weights.header), path)
    missing = [part for part in layout.missing_parts(weights.header) if needs_vae or part != "VAE"]
    if missing:
        kind = MissingVae if missing == ["VAE"] else WebuiError
        raise kind(f"{path.name} has no {' and no '.join(missing)} inside.", "Use a complete checkpoint.", field=FIELD)
    sidecar = layout.read_sidecar(path)
    if needs_vae:
        configs = layout.infer_configs(weights.header, sidecar, path.name)
    else:
        configs = Configs(
            layout.unet_config(weights.header, sidecar, path.name),
            {},
            layout.text_config(weights.header, sidecar, path.name),
            layout.scheduler_config(weights.header, sidecar, path.name),
        )
    return _Parts(
        family, configs, weights, weights, weights,
        unet_names=lambda name: [UNET + layout.unet_ldm_name(name, configs.unet)],
        vae_names=lambda name: [VAE + layout.vae_ldm_name(name, configs.vae)],
        text_names=lambda name: [TEXT + name.removeprefix("text_model.")],
        scaling_factor=layout.scaling_factor(sidecar, path.name),
    )  # fmt: skip


def _with_text_model(key: str) -> str:
    """Old merges lack `text_model.` in the text encoder's names."""
    rest = key.removeprefix(_OLD_TEXT)
    return TEXT + rest if rest != key and rest.startswith(_OLD_TEXT_PARTS) else key


# ---- diffusers folders ----


def _open_folder(path: Path, needs_vae: bool) -> _Parts:
    family = family_of_folder(path)
    if not family.supported:  # its parts may have other names, so none is missed
        require_supported(family, path)
    unet_config = read_part(path / "unet" / "config.json", path.name)
    if family.name == "sd1" and unet_config.get("in_channels") == 9:
        family = family_named("sd1-inpaint")
    if family.name == "sd1" and unet_config.get("cross_attention_dim") == 1024:
        family = family_named("sd2")
    require_supported(family, path)
    text_config = layout.read_config("sd1", "text_encoder")
    stored = read_part(path / "text_encoder" / "config.json", path.name)
    # The stored marker ids are wrong in most files ("eos_token_id": 2); the tokenizer's are right.
    text_config |= {key: stored[key] for key in text_config if key in stored and not key.endswith("_token_id")}
    scheduler = layout.read_config("sd1", "scheduler")
    if (path / "scheduler" / "scheduler_config.json").is_file():
        stored = read_part(path / "scheduler" / "scheduler_config.json", path.name)
        _require_schedule(stored, path.name)
        scheduler |= {key: stored[key] for key in (*scheduler, "rescale_betas_zero_snr") if key in stored}
    vae_config: Config = {}
    if needs_vae:
        if not (path / "vae").is_dir():
            raise MissingVae(f"{path.name} lacks vae/config.json.", "Download the folder again.", field=FIELD)
        vae_config = read_part(path / "vae" / "config.json", path.name)
    unet = _component(path, "unet")
    return _Parts(
        family,
        Configs(_public(unet_config), _public(vae_config), text_config, scheduler),
        unet=unet,
        vae=_component(path, "vae") if needs_vae else unet,
        text_encoder=_component(path, "text_encoder"),
        unet_names=lambda name: [name],
        vae_names=lambda name: [name, old_vae_name(name)],
        text_names=lambda name: [name, f"text_model.{name}"],
        scaling_factor=vae_config.get("scaling_factor", layout.read_config("sd1", "vae")["scaling_factor"]),
    )


def _require_schedule(stored: Config, name: str) -> None:
    """Raises WebuiError, with the key, for noise levels or a prediction that would be passed over."""
    known: Config = {
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


def _component(folder: Path, part: str) -> Weights:
    """The weights of one part: whole or sharded, safetensors before pickles, full precision before `.fp16`."""
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


def _load(file: Checkpoint, tools: LoadTools) -> StableDiffusion:
    return load_checkpoint(
        file, tools.place, tools.tokenizer, tools.hashes, spare=tools.spare_vae, make_room=tools.make_room
    )


def _recognises(signs: FileSigns) -> bool:
    name = PIPELINES.get(signs.pipeline) or detect(signs.header).name
    return name in ("sd1", "sd1-inpaint")


SD1: Final = Family(
    traits=SD1_TRAITS,
    recognises=_recognises,
    load=_load,
    abilities=frozenset({"loras", "embeddings", "vae_files", "tiling", "token_merging"}),
)
