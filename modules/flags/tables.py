"""A1111's flags that do nothing here, those that are rejected, and the flags that name folders."""

from collections.abc import Mapping
from types import MappingProxyType

LOGLEVELS = ("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG")

_ATTENTION = "attention is PyTorch's scaled_dot_product_attention, which picks the fastest kernel"
_MEMORY = "weights are mapped from their file and read one tensor at a time"
_NO_DOWNLOAD = "Palimpsest downloads no models at all"
_NO_TUNNEL = "Palimpsest uses no third-party server; use --listen with --auth, or an SSH tunnel"
_NO_CHECK = "the launcher checks only what it needs, and skips the checks if nothing has changed"

# A1111's flags that guides recommend and that do nothing here: (words after the flag, the reason).
NOT_NEEDED: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "--xformers": (0, _ATTENTION),
        "--force-enable-xformers": (0, _ATTENTION),
        "--xformers-flash-attention": (0, _ATTENTION),
        "--opt-sdp-attention": (0, _ATTENTION),
        "--opt-sdp-no-mem-attention": (0, _ATTENTION),
        "--opt-sub-quad-attention": (0, _ATTENTION),
        "--sub-quad-q-chunk-size": (1, _ATTENTION),
        "--sub-quad-kv-chunk-size": (1, _ATTENTION),
        "--sub-quad-chunk-threshold": (1, _ATTENTION),
        "--opt-split-attention": (0, _ATTENTION),
        "--opt-split-attention-v1": (0, _ATTENTION),
        "--opt-split-attention-invokeai": (0, _ATTENTION),
        "--disable-opt-split-attention": (0, _ATTENTION),
        "--lowram": (0, _MEMORY),
        "--disable-model-loading-ram-optimization": (0, _MEMORY),
        "--opt-channelslast": (0, "the memory format is chosen automatically"),
        "--upcast-sampling": (0, "precision is chosen to suit the device; --precision full computes in 32 bit"),
        "--no-half-vae": (0, "precision is chosen to suit the device; --precision full computes in 32 bit"),
        "--api": (0, "the API is always on"),
        "--no-gradio-queue": (0, "Palimpsest has its own job queue"),
        "--gradio-queue": (0, "Palimpsest has its own job queue"),
        "--skip-torch-cuda-test": (0, "the CPU is used if there is no GPU"),
        "--skip-python-version-check": (0, _NO_CHECK),
        "--skip-version-check": (0, _NO_CHECK),
        "--skip-prepare-environment": (0, _NO_CHECK),
        "--update-check": (0, "Palimpsest never looks for updates"),
        "--no-download-sd-model": (0, _NO_DOWNLOAD),
        "--do-not-download-clip": (0, _NO_DOWNLOAD),
        "--no-hashing": (0, "each model is hashed once and the hash is kept"),
    }
)

NOT_OFFERED: Mapping[str, str] = MappingProxyType(
    {
        "--share": _NO_TUNNEL,
        "--ngrok": _NO_TUNNEL,
        "--disable-safe-unpickle": "checkpoints are never unpickled unsafely; convert them to .safetensors",
        "--enable-insecure-extension-access": "extensions cannot be installed over HTTP; copy them into extensions/",
        "--cors-allow-origins-regex": "a regex easily allows too much; list the origins in --cors-allow-origins",
        "--api-server-stop": "stop the server where you started it, not over HTTP",
    }
)

# How a checkpoint is kept in memory, by A1111's flags and by Forge's: (the mode, help).
MEMORY_FLAGS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "--highvram": ("whole", "keep all of a checkpoint on the device, whatever is free"),
        "--medvram": ("parts", "have text encoders, UNet and VAE on the device one at a time"),
        "--medvram-sdxl": ("parts-sdxl", "the same for checkpoints as large as SDXL"),
        "--lowvram": ("layers", "have one layer of the UNet on the device at a time: slow, and takes least memory"),
    }
)
MEMORY_ALIASES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "--highvram": ("--always-high-vram", "--always-gpu", "--gpu-only"),
        "--medvram": ("--always-normal-vram", "--normalvram", "--always-offload-from-vram"),
        "--lowvram": ("--always-low-vram", "--always-no-vram", "--novram"),
    }
)

MORE_FOLDERS: Mapping[str, str] = MappingProxyType(
    {
        "--ckpt-dir": "checkpoints",
        "--lora-dir": "LoRAs",
        "--embeddings-dir": "textual inversions",
        "--hypernetwork-dir": "hypernetworks",
        "--controlnet-dir": "ControlNets",
        "--vae-dir": "VAEs",
    }
)
MODEL_FOLDERS = ("Stable-diffusion", "Lora", "LyCORIS", "VAE", "embeddings")  # the subfolders of a models folder
ONLY_ONE = ("--data-dir", "--models-dir", "--ckpt")  # a second value replaces the first
