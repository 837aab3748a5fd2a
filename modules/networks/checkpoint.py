"""Loading a checkpoint: a single file in Stable Diffusion 1's layout or a diffusers folder, from local files alone."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, cast

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from modules.base.errors import WebuiError
from modules.clip.bpe import ClipBPE
from modules.networks import layout
from modules.networks.device import Place
from modules.networks.files.checkpoints import family_of_folder
from modules.networks.files.detect import TEXT, UNET, VAE, Family, detect, family_named, require_supported
from modules.networks.files.foreign import FIELD, read_json
from modules.networks.files.listing import HashCache, is_diffusers_part
from modules.networks.files.loras import Wanted
from modules.networks.layout import Config, Configs
from modules.networks.upsampling import double_before_convolving
from modules.networks.weights import Weights, fill, merged, open_weights, require_fitting
from modules.schema.catalog import Checkpoint

log = logging.getLogger(__name__)

PredictionType = Literal["epsilon", "v_prediction"]

_OLD_TEXT: Final = "cond_stage_model.transformer."
_OLD_TEXT_PARTS: Final = ("embeddings.", "encoder.", "final_layer_norm.")
# How diffusers called the VAE's attention before 0.18; folders saved then still do.
_OLD_VAE_NAMES: Final = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
_WEIGHT_FILES: Final = ("diffusion_pytorch_model", "model", "pytorch_model")


class MissingVae(WebuiError):
    """All that a checkpoint lacks is a VAE, which may come from a file of its own."""


@dataclass(frozen=True)
class StableDiffusion:
    """A loaded checkpoint, its parts on one device, in evaluation mode and without gradients.

    `alphas_cumprod` (1000,) is fp32 on the CPU; `size` the parts' bytes in memory; `name` the infotext's "Model",
    `hash` its "Model hash". `networks` are the LoRAs that are in the weights besides (see lora.py). `vae_name` and
    `vae_hash` are the infotext's words for a VAE that came from a file of its own, "" for the checkpoint's. A
    checkpoint with `zero_terminal_snr` was trained on noise levels that end in nothing but noise.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: ClipBPE
    family: Family
    name: str
    hash: str
    alphas_cumprod: Tensor
    prediction_type: PredictionType
    place: Place
    size: int
    networks: tuple[Wanted, ...] = ()
    vae_name: str = ""
    vae_hash: str = ""
    has_own_vae: bool = True
    zero_terminal_snr: bool = False

    @property
    def is_inpainting(self) -> bool:
        """Whether the UNet takes mask and masked image as five more channels."""
        return self.unet.config["in_channels"] == 9

    @property
    def latent_channels(self) -> int:
        return cast(int, self.vae.config["latent_channels"])

    @property
    def scale(self) -> int:
        """Pixels of a side for one latent cell: 8."""
        return 2 ** (len(self.vae.config["block_out_channels"]) - 1)


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
    unet = _empty(UNet2DConditionModel, parts.configs.unet, file.name)
    text_encoder = _empty_text_encoder(parts.configs.text_encoder, file.name)
    double_before_convolving(unet)
    require_fitting(unet, parts.unet, parts.unet_names)
    require_fitting(text_encoder, parts.text_encoder, parts.text_names)
    if vae is None:
        require_fitting(_empty(AutoencoderKL, parts.configs.vae, file.name), parts.vae, parts.vae_names)
    make_room(_bytes(unet, place.dtype) + _bytes(text_encoder, place.text_dtype))
    device = place.device
    fill(unet, parts.unet, parts.unet_names, device, place.dtype, torch.channels_last)
    fill(text_encoder, parts.text_encoder, parts.text_names, device, place.text_dtype)
    # Not stored in files, so it still stands on the meta device.
    positions = torch.arange(parts.configs.text_encoder["max_position_embeddings"], device=device)
    text_encoder.embeddings.register_buffer("position_ids", positions[None], persistent=False)
    if vae is None:
        autoencoder = _filled_vae(parts.configs.vae, parts.vae, parts.vae_names, place)
    else:
        autoencoder = load_vae(vae, place, parts.scaling_factor)
    size = sum(p.numel() * p.element_size() for part in (unet, autoencoder, text_encoder) for p in part.parameters())
    log.info("Loaded %s: %s, %.0f MB", file.name, parts.family.name, size / 1e6)
    return StableDiffusion(
        unet=unet,
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        family=parts.family,
        name=file.stem,
        hash=hashes.short(file.path),
        alphas_cumprod=alphas_cumprod(parts.configs.scheduler),
        prediction_type=parts.configs.scheduler["prediction_type"],
        place=place,
        size=size,
        has_own_vae=has_own_vae,
        zero_terminal_snr=parts.configs.scheduler.get("rescale_betas_zero_snr") is True,
    )


def _bytes(model: torch.nn.Module, dtype: torch.dtype) -> int:
    return sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize


def load_vae(path: Path, place: Place, scaling_factor: float | None = None) -> AutoencoderKL:
    """A VAE out of its own file or a whole checkpoint. Raises WebuiError if the file is damaged or holds none.

    `scaling_factor` is that of the checkpoint it is to serve: a VAE's file does not tell, and the UNet expects its own.
    """
    try:
        return _loaded_vae(path, place, scaling_factor)
    except WebuiError as error:
        raise WebuiError(error.message, error.hint, "sd_vae") from error
    except OSError as error:
        raise WebuiError(
            f"{path.name} cannot be read: {error.strerror or error}.", "Refresh the list.", "sd_vae"
        ) from error


def _loaded_vae(path: Path, place: Place, scaling_factor: float | None) -> AutoencoderKL:
    weights = open_weights(path)
    prefix = VAE if any(key.startswith(VAE) for key in weights.header) else ""
    if f"{prefix}decoder.conv_in.weight" not in weights.header:
        raise WebuiError(
            f"{path.name} is {detect(weights.header).label}, not a VAE.", "Choose another.", field="sd_vae"
        )
    is_diffusers = any(key.startswith(f"{prefix}encoder.down_blocks.") for key in weights.header)
    if is_diffusers:
        stored = _read_json(path.with_name("config.json"), path.parent.name) if is_diffusers_part(path) else {}
        config = layout.diffusers_vae_config(weights.header, stored, path.name, prefix)
    else:
        config = layout.vae_config(weights.header, layout.read_sidecar(path), path.name, prefix)
    if scaling_factor is not None:
        config |= {"scaling_factor": scaling_factor}

    def names(name: str) -> list[str]:
        theirs = [name, _old_vae_name(name)] if is_diffusers else [layout.vae_ldm_name(name, config)]
        return [prefix + each for each in theirs]

    return _filled_vae(config, weights, names, place)


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

Names = Callable[[str], Sequence[str]]
Model = TypeVar("Model", UNet2DConditionModel, AutoencoderKL)


@dataclass(frozen=True)
class _Parts:
    """Weights not read yet, the configs to build from, and where each model's parameter is found."""

    family: Family
    configs: Configs
    unet: Weights
    vae: Weights
    text_encoder: Weights
    unet_names: Names
    vae_names: Names
    text_names: Names
    scaling_factor: float  # of latents, also where no VAE is inside


@contextmanager
def _building(name: str) -> Iterator[None]:
    """On the meta device; whatever diffusers and transformers raise at a configuration becomes a sentence."""
    try:
        with torch.device("meta"):
            yield
    except Exception as error:
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise WebuiError(
            f"{name} has a configuration that makes no model: {said[:200]}.", "Download it again.", field=FIELD
        ) from error


def _empty(kind: type[Model], config: Config, name: str) -> Model:
    with _building(name):
        return cast(Model, cast(Any, kind).from_config(config))


def _empty_text_encoder(config: Config, name: str) -> CLIPTextModel:
    with _building(name):
        return CLIPTextModel(CLIPTextConfig(**cast(Any, config | {"attn_implementation": "sdpa"})))


def _filled_vae(config: Config, weights: Weights, names: Names, place: Place) -> AutoencoderKL:
    vae = _empty(AutoencoderKL, config, weights.name)
    fill(vae, weights, names, place.device, place.vae_dtype, torch.channels_last)
    return vae


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
    unet_config = _read_json(path / "unet" / "config.json", path.name)
    if family.name == "sd1" and unet_config.get("in_channels") == 9:
        family = family_named("sd1-inpaint")
    if family.name == "sd1" and unet_config.get("cross_attention_dim") == 1024:
        family = family_named("sd2")
    require_supported(family, path)
    text_config = layout.read_config("sd1", "text_encoder")
    stored = _read_json(path / "text_encoder" / "config.json", path.name)
    # The stored marker ids are wrong in most files ("eos_token_id": 2); the tokenizer's are right.
    text_config |= {key: stored[key] for key in text_config if key in stored and not key.endswith("_token_id")}
    scheduler = layout.read_config("sd1", "scheduler")
    if (path / "scheduler" / "scheduler_config.json").is_file():
        stored = _read_json(path / "scheduler" / "scheduler_config.json", path.name)
        _require_schedule(stored, path.name)
        scheduler |= {key: stored[key] for key in (*scheduler, "rescale_betas_zero_snr") if key in stored}
    vae_config: Config = {}
    if needs_vae:
        if not (path / "vae").is_dir():
            raise MissingVae(f"{path.name} lacks vae/config.json.", "Download the folder again.", field=FIELD)
        vae_config = _read_json(path / "vae" / "config.json", path.name)
    unet = _component(path, "unet")
    return _Parts(
        family,
        Configs(_public(unet_config), _public(vae_config), text_config, scheduler),
        unet=unet,
        vae=_component(path, "vae") if needs_vae else unet,
        text_encoder=_component(path, "text_encoder"),
        unet_names=lambda name: [name],
        vae_names=lambda name: [name, _old_vae_name(name)],
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


def _old_vae_name(name: str) -> str:
    if ".attentions." not in name:
        return name
    layer, _, kind = name.rpartition(".")
    for new, old in _OLD_VAE_NAMES.items():
        if layer.endswith(new):
            return f"{layer.removesuffix(new)}{old}.{kind}"
    return name


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


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        return layout.require_plausible(read_json(path), f"{path.parent.name}/{path.name} in {name}")
    except FileNotFoundError as error:
        raise WebuiError(
            f"{name} lacks {path.parent.name}/{path.name}.", "Download the folder again.", field=FIELD
        ) from error
    except (OSError, ValueError) as error:
        raise WebuiError(
            f"{path.name} in {name} cannot be read: {error}.", "Download the folder again.", field=FIELD
        ) from error
