"""The lists of A1111's API: samplers, models, styles and so on."""

import os
from pathlib import Path
from typing import Any

import psutil
from fastapi import APIRouter

from modules.api.services import Services
from modules.base.errors import WebuiError
from modules.base.names import shown
from modules.flags.flags import Flags
from modules.networks.files.loras import full_metadata
from modules.schema.catalog import SHORT_HASH, Checkpoint, Embedding, Lora
from modules.schema.sampler_names import SAMPLERS, SCHEDULES, SamplerName, ScheduleName
from modules.schema.upscalers import DEFAULT_FACTOR, Upscaler, of_latents, of_pictures

NEEDS_MODEL = ("Uniform", "SGM Uniform", "Simple", "Normal", "DDIM", "Beta")  # schedules that use the model's levels
SECRET_WORDS = ("auth", "password", "key", "token", "cert")


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/sdapi/v1", tags=["A1111: lists"])

    @router.get("/samplers")
    def samplers() -> list[dict[str, Any]]:
        """The sampling methods, with their aliases."""
        return [{"name": row.name, "aliases": list(row.aliases), "options": _sampler_options(row)} for row in SAMPLERS]

    @router.get("/schedulers")
    def schedulers() -> list[dict[str, Any]]:
        """The schedule types; both `name` and `label` are accepted."""
        return [_scheduler(row) for row in SCHEDULES]

    @router.get("/upscalers")
    def upscalers() -> list[dict[str, Any]]:
        """Upscalers for pictures, in hires. fix and extras."""
        return [_upscaler(row) for row in of_pictures(services.catalog.current.upscalers)]

    @router.get("/latent-upscale-modes")
    def latent_upscale_modes() -> list[dict[str, Any]]:
        """Upscalers for latents, in hires. fix."""
        return [{"name": row.name} for row in of_latents(services.catalog.current.upscalers)]

    @router.get("/sd-models")
    def sd_models() -> list[dict[str, Any]]:
        """The checkpoints. A checkpoint may be selected by title, model_name, file name or hash."""
        return [_checkpoint(services, checkpoint) for checkpoint in services.catalog.current.checkpoints]

    @router.get("/sd-vae")
    def sd_vae() -> list[dict[str, Any]]:
        """The VAE files. The option `sd_vae` accepts either name, and also Automatic and None."""
        names = dict.fromkeys(vae.name for vae in services.catalog.current.vaes)
        return [{"model_name": name, "filename": name} for name in names]

    @router.get("/hypernetworks")
    def hypernetworks() -> list[dict[str, Any]]:
        """The hypernetworks."""
        return [{"name": one.name, "path": shown(one.path.name)} for one in services.catalog.current.hypernetworks]

    @router.get("/face-restorers")
    def face_restorers() -> list[dict[str, Any]]:
        """Face restorers: not supported, always empty."""
        return []

    @router.get("/realesrgan-models")
    def realesrgan_models() -> list[dict[str, Any]]:
        """The RealESRGAN models among the upscalers."""
        rows = [row for row in services.catalog.current.upscalers if row.name.startswith("R-ESRGAN")]
        return [{"name": row.name, "path": _upscaler(row)["model_path"], "scale": row.factor} for row in rows]

    @router.get("/prompt-styles")
    def prompt_styles() -> list[dict[str, Any]]:
        """The styles in styles.csv."""
        return [style._asdict() for style in services.styles.styles().values()]

    @router.get("/embeddings")
    def embeddings() -> dict[str, Any]:
        """Textual inversions: those that the loaded checkpoint can use, and the others with the `reason`."""
        width = services.queue.state().text_width
        loaded: dict[str, Any] = {}
        skipped: dict[str, Any] = {}
        for embedding in services.catalog.current.embeddings:
            if reason := embedding.unusable_with(width):
                skipped[embedding.name] = {**_embedding(embedding), "reason": reason}
            else:
                loaded[embedding.name] = _embedding(embedding)
        return {"loaded": loaded, "skipped": skipped}

    @router.get("/loras")
    def loras() -> list[dict[str, Any]]:
        """The LoRA files that prompts can use, and those that cannot be read, with the `reason`."""
        return [_lora(lora) for lora in services.catalog.current.loras]

    _add_machine(router, services)
    _add_refreshes(router, services)
    return router


def _add_machine(router: APIRouter, services: Services) -> None:
    """Routes about the machine and the flags."""

    @router.get("/cmd-flags")
    def cmd_flags() -> dict[str, Any]:
        """The command line of the server, without secrets."""
        return public_flags(services.flags)

    @router.get("/memory")
    def memory() -> dict[str, Any]:
        """Main memory in bytes, of Palimpsest's processes and of the machine."""
        return {"ram": ram(), "cuda": {"error": "Palimpsest does not report GPU memory."}}


def _add_refreshes(router: APIRouter, services: Services) -> None:
    """Routes that rescan the folders of models."""

    @router.post("/refresh-checkpoints")
    def refresh_checkpoints() -> None:
        """Rescan the folders of checkpoints."""
        services.catalog.refresh()

    @router.post("/refresh-vae")
    def refresh_vae() -> None:
        """Rescan the folders of VAEs."""
        services.catalog.refresh()

    @router.post("/refresh-embeddings")
    def refresh_embeddings() -> None:
        """Rescan the folders of textual inversions."""
        services.catalog.refresh()

    @router.post("/refresh-loras")
    def refresh_loras() -> None:
        """Rescan the folders of LoRAs."""
        services.catalog.refresh()


def known_sha256(services: Services, checkpoint: Checkpoint) -> str:
    """The sha256 of a file if it is known, else ""."""
    state = services.queue.state()
    loaded = state.checkpoint_hash if state.checkpoint == checkpoint.name else ""
    return checkpoint.hash or services.catalog.known_hash(checkpoint.path) or loaded


def title_of(services: Services, checkpoint: Checkpoint) -> str:
    """A1111's name for a checkpoint: `file.safetensors [0123456789]`, without the hash if it is not known yet."""
    sha256 = known_sha256(services, checkpoint)
    return f"{checkpoint.name} [{sha256[:SHORT_HASH]}]" if sha256 else checkpoint.name


def public_flags(flags: Flags) -> dict[str, Any]:
    """The flags as JSON, with only the last part of each path and without credentials."""
    flags_by_name: dict[str, Any] = {"api": True, "listen": not flags.is_local}
    for name, value in vars(flags).items():
        if any(word in name for word in SECRET_WORDS):
            flags_by_name[name] = None
        elif isinstance(value, Path):
            flags_by_name[name] = shown(value.name)
        elif isinstance(value, tuple):
            flags_by_name[name] = [shown(each.name) if isinstance(each, Path) else each for each in value]
        else:
            flags_by_name[name] = value
    return flags_by_name


def ram() -> dict[str, int]:
    """Memory in bytes: free, used by this process and its children, and total."""
    process = psutil.Process(os.getpid())
    used = process.memory_info().rss
    for child in process.children(recursive=True):
        try:
            used += child.memory_info().rss
        except psutil.Error:
            continue  # it has just ended
    machine = psutil.virtual_memory()
    return {"free": machine.available, "used": used, "total": machine.total}


def _upscaler(row: Upscaler) -> dict[str, Any]:
    """An upscaler in A1111's format. Paths are only file names, so a client does not learn where the models are."""
    return {
        "name": row.name,
        "model_name": row.path.stem if row.path else None,
        "model_path": shown(row.path.name) if row.path else None,
        "model_url": None,
        "scale": row.factor or DEFAULT_FACTOR,
    }


def _checkpoint(services: Services, checkpoint: Checkpoint) -> dict[str, Any]:
    sha256 = known_sha256(services, checkpoint)
    return {
        "title": title_of(services, checkpoint),
        "model_name": checkpoint.stem,
        "hash": sha256[:SHORT_HASH] or None,
        "sha256": sha256 or None,
        "filename": checkpoint.name,
        "config": None,
    }


def _embedding(embedding: Embedding) -> dict[str, Any]:
    return {
        "step": embedding.step,
        "sd_checkpoint": embedding.sd_checkpoint,
        "sd_checkpoint_name": embedding.sd_checkpoint_name,
        "shape": embedding.width,
        "vectors": embedding.vectors,
    }


def _lora(lora: Lora) -> dict[str, Any]:
    return {
        "name": lora.name,
        "alias": lora.alias or lora.name,
        "path": shown(lora.path.name),
        "metadata": {**lora.metadata, **full_metadata(lora.path)},
        **({"reason": lora.reason} if lora.reason else {}),
    }


def _sampler_options(row: SamplerName) -> dict[str, str]:
    """A sampler's options in A1111's format, where all values are texts."""
    flags = {
        "second_order": row.second_order,
        "brownian_noise": row.brownian,
        "discard_next_to_last_sigma": row.discard_next_to_last_sigma,
        "uses_ensd": row.uses_ensd,
    }
    options = {name: "True" for name, value in flags.items() if value}
    return {"scheduler": row.default_schedule.lower(), **options} if row.default_schedule else options


def _scheduler(row: ScheduleName) -> dict[str, Any]:
    return {
        "name": row.aliases[0],
        "label": row.name,
        "aliases": list(row.aliases[1:]) or None,
        "default_rho": -1 if row.default_rho is None else row.default_rho,
        "need_inner_model": row.name in NEEDS_MODEL,
    }


def selected(services: Services) -> Checkpoint | None:
    """The selected checkpoint; None if it no longer exists."""
    try:
        return services.catalog.current.checkpoint(services.settings.current.sd_model_checkpoint)
    except WebuiError:
        return None
