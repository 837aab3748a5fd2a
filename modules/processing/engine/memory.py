"""How much memory a job's checkpoint may use, and the sentence that says how it will be held."""

from modules.networks.model_cache import Forecast, Limits
from modules.schema.settings import Settings

_GB = 1e9
_HELD = {"whole": "", "parts": "part by part", "layers": "layer by layer"}


def limits(settings: Settings) -> Limits:
    return Limits(
        settings.sd_checkpoints_limit,
        int(settings.sd_checkpoints_ram * _GB),
        int(settings.sd_checkpoints_vram * _GB),
        settings.fp8_storage,
    )


def plan_sentence(name: str, forecast: Forecast) -> str:
    """What happens before a checkpoint is used, in one line; "" if it is loaded whole, or already there."""
    parts = [_HELD[forecast.mode], "weights as fp8" if forecast.is_fp8 else ""]
    if forecast.lets_go:
        parts.append(f"unloads {', '.join(forecast.lets_go)}")
    parts = list(filter(None, parts))
    if not parts:
        return ""
    needed, free = forecast.needs.whole / _GB, forecast.free / _GB
    return f"{name}: {', '.join(parts)} ({needed:.1f} GB of weights, {free:.1f} GB free)"
