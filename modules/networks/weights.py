"""Tensors by name out of a file, and models filled with them; nothing here asks the network for anything."""

import pickle
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from modules.errors import WebuiError
from modules.networks.files import FIELD, Header, TensorInfo, read_header
from modules.networks.layout import missing_keys

_DTYPE_NAMES: Final = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}


@dataclass(frozen=True)
class Weights:
    """A file's tensors: what they are, and `read(key)` to get one. `name` is for messages."""

    name: str
    header: Header
    read: Callable[[str], Tensor]

    def renamed(self, new_name: Callable[[str], str]) -> "Weights":
        """The same tensors under other names."""
        old = {new_name(key): key for key in self.header}
        header = {key: self.header[key_before] for key, key_before in old.items()}
        return Weights(self.name, header, lambda key: self.read(old[key]))


def open_weights(path: Path) -> Weights:
    """Open a `.safetensors` (mapped, read as asked for) or a pickle (`.ckpt`, `.pt`, `.bin`; nothing but weights).

    Raises WebuiError for a file that is empty, truncated, not what its suffix says, or holds more than weights.
    """
    if path.suffix.lower() == ".safetensors":
        header = read_header(path)
        try:
            file = cast(Any, safe_open(path, framework="pt", device="cpu"))
        except (SafetensorError, OSError) as error:
            raise WebuiError(f"{path.name} is damaged: {error}.", "Download or copy it again.", field=FIELD) from error
        return Weights(path.name, header, file.get_tensor)
    state = _read_pickle(path)
    header = {key: TensorInfo(_DTYPE_NAMES.get(value.dtype, "F32"), tuple(value.shape)) for key, value in state.items()}
    return Weights(path.name, header, state.__getitem__)


class _Stranger:
    """Stands for the training callbacks that early checkpoints name beside their weights; nothing of theirs runs."""


def _harmless() -> AbstractContextManager[None]:
    callback = "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"
    # The function numpy's numbers are pickled with; it has moved between versions.
    scalar: Any = cast(Any, np.float32(0).__reduce__())[0]
    numpy_scalars = [(np.dtype, "numpy.dtype"), (scalar, "numpy.core.multiarray.scalar")]
    number_types = [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64)]
    allowed: list[Any] = [(_Stranger, callback), *numpy_scalars, *number_types]
    return torch.serialization.safe_globals(allowed)


def _read_pickle(path: Path) -> dict[str, Tensor]:
    if path.stat().st_size == 0:
        raise WebuiError(f"{path.name} is empty (0 bytes).", "Download or copy it again.", field=FIELD)
    try:
        with _harmless():
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        raise WebuiError(
            f"{path.name} is a pickle that holds more than weights; it was refused, and no code of it was run.",
            "Use the .safetensors version of the checkpoint.",
            field=FIELD,
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WebuiError(f"{path.name} is damaged or truncated.", "Download or copy it again.", field=FIELD) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    pairs = state.items() if isinstance(state, dict) else ()
    tensors = {key: value for key, value in pairs if isinstance(value, Tensor)}
    if not tensors:
        raise WebuiError(f"{path.name} holds no weights.", "Use another checkpoint.", field=FIELD)
    return tensors


def _is_zip(path: Path) -> bool:
    """torch's files are zip archives since 1.6; only those can be mapped."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def merged(parts: Sequence[Weights]) -> Weights:
    """Several files (the shards of a model) seen as one."""
    owner = {key: part for part in parts for key in part.header}
    return Weights(
        parts[0].name, {key: part.header[key] for key, part in owner.items()}, lambda key: owner[key].read(key)
    )


def fill(
    model: nn.Module,
    weights: Weights,
    names: Callable[[str], Sequence[str]],
    device: torch.device,
    dtype: torch.dtype,
    memory_format: torch.memory_format = torch.preserve_format,
) -> None:
    """Give every parameter and buffer of `model`, which stands on the meta device, its tensor out of `weights`.

    `names(parameter)` are the keys to look under, the first that exists counts. Tensors are converted one by one, so
    that the whole file is never in memory twice. A 1×1 convolution and a linear layer of the same size stand in for
    each other. Raises WebuiError that names the first missing key, or the key with the wrong shape; the model is then
    unusable.
    """
    state: dict[str, Tensor] = {}
    missing: list[str] = []
    for name, wanted in model.state_dict().items():
        candidates = names(name)
        key = next((key for key in candidates if key in weights.header), None)
        if key is None:
            missing.append(candidates[0])
            continue
        tensor = weights.read(key)
        if not tensor.is_floating_point():
            raise WebuiError(
                f"{weights.name} is quantised ({key} is {weights.header[key].dtype}).",
                "Use the fp16 version.",
                field=FIELD,
            )
        if tensor.numel() != wanted.numel() or tensor.squeeze().shape != wanted.squeeze().shape:
            raise WebuiError(
                f"{weights.name}: {key} has the shape {list(tensor.shape)}, expected {list(wanted.shape)}.",
                "A .yaml or config.json beside it may belong to another model.",
                field=FIELD,
            )
        order = memory_format if wanted.ndim == 4 else torch.preserve_format
        # Type and order in one pass: two take twice as long, and convolutions are most of a UNet.
        state[name] = tensor.reshape(wanted.shape).to(device, dtype, memory_format=order)
    if missing:
        raise missing_keys(missing, weights.name)
    model.load_state_dict(state, assign=True)
    model.requires_grad_(False).eval()
