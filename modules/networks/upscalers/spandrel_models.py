"""Loads any network that spandrel supports from its weights: ESRGAN, Compact, SwinIR, DAT, HAT, SCUNet and others."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from torch import Tensor

from modules.base.errors import WebuiError

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor

_TORCHVISION = "torchvision.transforms.functional"
_NAMES = ("normalize", "rotate", "InterpolationMode")  # imported by LaMa and RestoreFormer, never called by upscalers


def load(state: Mapping[str, Tensor], name: str) -> "ImageModelDescriptor[Any]":
    """The network that `state` belongs to, in evaluation mode and without gradients; `name` is for messages.

    Raises WebuiError if spandrel does not support it, or if it does not map one picture to one picture.
    """
    with _without_torchvision():
        # Not at the top: the import takes half a second, and only upscaling needs it.
        from spandrel import MaskedImageModelDescriptor, ModelLoader, UnsupportedModelError  # noqa: PLC0415
    try:
        found = ModelLoader(device="cpu").load_from_state_dict(dict(state))
    except UnsupportedModelError as error:
        raise WebuiError(
            f"{name} is not an upscaler of a known architecture.",
            "Use an ESRGAN, SwinIR, DAT, HAT, SCUNet, or Compact file.",
            "upscaler",
        ) from error
    except (KeyError, ValueError, RuntimeError, TypeError, IndexError, AssertionError) as error:
        raise WebuiError(f"{name} is damaged: {error}.", "Download or copy it again.", "upscaler") from error
    if isinstance(found, MaskedImageModelDescriptor) or found.input_channels != 3 or found.output_channels != 3:
        raise WebuiError(f"{name} does not turn a picture into a picture.", "Use an upscaler.", "upscaler")
    found.model.requires_grad_(False)
    found.eval()
    return found


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """Within the context, `torchvision.transforms.functional` can be imported even if torchvision is not installed.

    spandrel imports three names from it for networks that are not used here. Some builds of torch have no matching
    build of torchvision, and a mismatched one also breaks transformers.
    """
    if "spandrel" in sys.modules or "torchvision" in sys.modules:
        yield
        return
    parts = _TORCHVISION.split(".")
    added = {".".join(parts[: i + 1]): ModuleType(part) for i, part in enumerate(parts)}
    for name in _NAMES:
        setattr(added[_TORCHVISION], name, None)
    sys.modules.update(added)
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]
