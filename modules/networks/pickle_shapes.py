"""What a torch pickle (`.pt`, `.bin`) holds, told without torch and without running anything: tensors as their shapes.

The unpickler knows a handful of names, all of them stand-ins from this file; any other one refuses the file.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from modules.errors import WebuiError
from modules.networks.files import TensorInfo

LARGEST: Final = 4 * 2**20  # bytes of the description; the tensors' numbers lie in files of their own


class Bag:
    """Stands for an object that holds tensors by name, such as torch's ParameterDict."""


def read_shapes(path: Path) -> Any:
    """The object that was saved in `path`, each tensor in it a `TensorInfo`.

    Raises WebuiError for what is no such file, holds more than weights, or is older than PyTorch 1.6.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            name = next((each for each in archive.namelist() if each.rpartition("/")[2] == "data.pkl"), "")
            if not name or archive.getinfo(name).file_size > LARGEST:
                raise WebuiError(f"{path.name} is no embedding.", "Choose another file.")
            return _Unpickler(archive.read(name)).load()
    except zipfile.BadZipFile as error:
        raise WebuiError(
            f"{path.name} is damaged, or older than PyTorch 1.6.", "Use a .safetensors version of it."
        ) from error
    except pickle.UnpicklingError as error:
        raise WebuiError(
            f"{path.name} is a pickle that holds more than weights; no code of it was run.",
            "Use a .safetensors version of it.",
        ) from error
    except Exception as error:  # a pickle is a program: whatever a damaged one does ends here
        raise WebuiError(f"{path.name} is damaged or truncated.", "Download or copy it again.") from error


class _Unpickler(pickle._Unpickler):  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue, reportUntypedBaseClass]
    """Python's own and not the one in C, whose memory a hostile file can blow up with one number."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        # Made anew each time, so that no file can leave anything behind for the next.
        bag = type("Bag", (Bag,), {})
        self._known: Mapping[str, Callable[..., Any]] = {
            "collections.OrderedDict": OrderedDict,
            "torch.nn.modules.container.ParameterDict": bag,
            "torch._utils._rebuild_tensor_v2": lambda storage, offset, size, *rest: TensorInfo(
                "", tuple(map(int, size))
            ),
            "torch._utils._rebuild_parameter": lambda data, *rest: data,
            "torch.Size": tuple,
            "__builtin__.set": set,
        }

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if module in ("torch", "torch.storage") and name.endswith("Storage"):
            return name
        if full not in self._known:
            raise pickle.UnpicklingError(full)
        return self._known[full]

    def persistent_load(self, pid: Any) -> None:
        """Where a tensor's numbers are."""
