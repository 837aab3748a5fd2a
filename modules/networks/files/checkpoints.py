"""Checkpoint files without loading them: what each header shows, and why a file cannot be loaded. Torch-free."""

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple, get_args

from modules.base.errors import WebuiError
from modules.networks.files.detect import (
    PIPELINES,
    SPLIT_FAMILIES,
    UNKNOWN,
    FileType,
    detect,
    family_named,
    lacks_text_encoder,
    require_supported,
)
from modules.networks.files.foreign import FIELD, read_json, real_path
from modules.networks.files.ggufs import SUFFIX, header_of
from modules.networks.files.headers import HeaderCache, Stamp, stamp_of
from modules.networks.files.listing import (
    DIFFUSERS_INDEX,
    HashCache,
    TensorInfo,
    find_checkpoints,
    find_files,
)
from modules.networks.files.loras import SLICE
from modules.networks.files.pickles import PickleReader
from modules.networks.files.torch_pickle import CHECKPOINT, MoreThanWeights, tensors_of
from modules.schema.catalog import Checkpoint
from modules.schema.families import Shown

log = logging.getLogger(__name__)

_SHOWN: Final = get_args(Shown)
TEXT_SUFFIXES: Final = (".safetensors", ".pt", ".bin", ".ckpt")  # of text encoder files
_KIND: Final = "checkpoint"  # in the header cache
_PICKLE: Final = "a pickle with code"  # label in lists for a file that contains more than weights
_PARTS: Final = ("unet", "text_encoder")  # required parts of a diffusers folder; a VAE may come from a file of its own
_INPAINTING_CHANNELS: Final = 9
_DEPTH_CHANNELS: Final = 5
_EDIT_CHANNELS: Final = 8  # InstructPix2Pix
_EDIT: Final = {"sd1": "instruct-pix2pix", "sd2": "sd2-edit", "sdxl": "sdxl-edit"}
_SD2_CONTEXT: Final = 1024  # width of its cross-attention context
# Of other families. The second text encoder is the only one of XL's refiner.
_NEEDED: Final = {
    "sdxl": ("unet", "text_encoder_2"),
    "z-image": ("transformer", "text_encoder"),
    "flux2-klein": ("transformer", "text_encoder"),
}


class Seen(NamedTuple):
    """What a header shows, "" if it does not show it: a description of the file; the name of its family in
    `schema/families.py`; why it cannot be loaded; the network's inputs besides the latent; whether a text encoder is
    missing."""

    what: str
    family: str
    reason: str
    shown: Shown = ""
    lacks_text: bool = False


UNSEEN: Final = Seen("", "", "")  # a file saved by torch, judging by its first bytes


class _Left(NamedTuple):
    """A checkpoint whose header or pickle has not been read yet."""

    path: Path
    stamp: Stamp


class CheckpointFiles:
    """The checkpoints in some folders. A file's header is read again only when the file has changed.

    `found` reads at most `at_once` headers (None for all). `look_further`, which may run in another thread, reads the
    others, and pickles, which take longer. Checkpoints without a text encoder can use the files in the folders
    `text_encoders`.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        headers: HeaderCache | None = None,
        at_once: int | None = None,
        text_encoders: Sequence[Path] = (),
    ) -> None:
        self._folders = tuple(folders)
        self._text_encoders = tuple(text_encoders)
        self._headers = headers or HeaderCache()
        self._at_once = at_once
        self._left: tuple[_Left, ...] = ()
        self._followed: set[Stamp] = set()

    def found(self, hashes: HashCache) -> tuple[Checkpoint, ...]:
        """The checkpoints that exist now; those that cannot be loaded have their reasons."""
        left: list[_Left] = []
        rows: list[Checkpoint] = []
        now_read = 0
        texts = tuple(find_files(self._text_encoders, TEXT_SUFFIXES))
        for row in find_checkpoints(self._folders, hashes):
            try:
                stamp = stamp_of(row.path / DIFFUSERS_INDEX if row.path.is_dir() else row.path)
            except OSError as error:
                rows.append(replace(row, reason=_unreadable(row.path, error)))
                continue
            seen = self._known(stamp)
            if seen is None and (self._at_once is None or now_read < self._at_once):
                seen, now_read = self._keep(stamp, look_into(row.path)), now_read + 1
            if seen is None or (seen == UNSEEN and stamp not in self._followed):
                left.append(_Left(row.path, stamp))
            known = seen or UNSEEN
            own = texts if known.lacks_text or known == UNSEEN else ()
            what, family, reason, shown, _ = known
            rows.append(replace(row, what=what, family=family, reason=reason, shown=shown, text_encoders=own))
        self._left = tuple(left)
        return tuple(rows)

    def look_further(self, seconds: float = SLICE) -> bool:
        """Reads headers and pickles that `found` has skipped, for about `seconds`. Returns whether it has found
        anything new."""
        end = time.monotonic() + seconds
        is_news = False
        with PickleReader() as pickles:
            for path, stamp in self._left:
                seen = self._known(stamp) or look_into(path)
                if seen == UNSEEN:
                    self._followed.add(stamp)
                    seen = follow(path, pickles)
                is_news |= self._keep(stamp, seen) != UNSEEN
                if time.monotonic() > end:
                    break
        return is_news

    def _known(self, stamp: Stamp) -> Seen | None:
        match self._headers.get(_KIND, stamp):
            case {
                "what": str(what),
                "family": str(family),
                "reason": str(reason),
                "shown": shown,
                "lacks_text": bool(lacks_text),
            } if shown in _SHOWN:
                return Seen(what, family, reason, shown, lacks_text)
            case _:
                return None

    def _keep(self, stamp: Stamp, seen: Seen) -> Seen:
        """Caches `seen`. Faulty files are read again at each start; so are folders, since `stamp` covers one file."""
        is_kept = bool(seen.what) and not seen.reason and stamp.path.name != DIFFUSERS_INDEX
        self._headers.put(_KIND, stamp, seen._asdict(), is_kept)
        return seen


def follow(path: Path, pickles: PickleReader) -> Seen:
    """What a file saved by torch shows; no code in it is run."""
    family = None
    try:
        tensors = tensors_of(pickles.read(path, CHECKPOINT))
        if not tensors:
            raise WebuiError(f"{path.name} holds no weights.", "Use another checkpoint.", FIELD)
        header = {key: TensorInfo(value.dtype, value.shape) for key, value in tensors.items()}
        family = detect(header)
        require_supported(family, path)
    except WebuiError as error:
        log.info("%s", error)
        if family is None:
            return Seen(_PICKLE if isinstance(error, MoreThanWeights) else "", "", str(error))
        return Seen(family.label, family.family, str(error))
    except OSError as error:
        return Seen("", "", _unreadable(path, error))
    return _seen(family)._replace(lacks_text=lacks_text_encoder(header, family))


def look_into(path: Path) -> Seen:
    """What a checkpoint's header shows. A file saved by torch is not read here: it is a pickle, which is code."""
    family, lacks_text = None, False
    try:
        if path.is_dir():
            family = family_of_folder(path)
        elif (header := header_of(path)) is not None:
            family = detect(header)
            lacks_text = lacks_text_encoder(header, family)
            require_split(family, path)
        if family is not None:
            require_supported(family, path)
    except WebuiError as error:
        log.info("%s", error)
        return _seen(family, str(error))
    except OSError as error:
        return Seen("", "", _unreadable(path, error))
    return _seen(family)._replace(lacks_text=lacks_text)


def require_split(family: FileType, path: Path) -> None:
    """Raises WebuiError for a GGUF file of a family whose single files hold more than the denoiser."""
    if path.suffix.lower() == SUFFIX and family.supported and family.family not in SPLIT_FAMILIES:
        raise WebuiError(
            f"{path.name} is {family.label} as GGUF, a format that is read for Z-Image and FLUX.2 alone.",
            "Use the .safetensors version of the model.",
            FIELD,
        )


def _seen(family: FileType | None, reason: str = "") -> Seen:
    return Seen(family.label, family.family, reason, family.shown) if family else Seen("", "", reason)


def family_of_folder(path: Path) -> FileType:
    """The family of a diffusers folder, by the pipeline it names. Raises WebuiError if it names none, lacks a part of a
    Stable Diffusion pipeline, or has links that lead outside; OSError."""
    require_own_files(path)
    try:
        pipeline = str(read_json(path / DIFFUSERS_INDEX).get("_class_name", ""))[:80]
    except ValueError as error:
        raise WebuiError(
            f"{DIFFUSERS_INDEX} in {path.name} cannot be read: {error}.", "Download the folder again.", FIELD
        ) from error
    family = family_named(PIPELINES.get(pipeline, ""))
    if family == UNKNOWN and pipeline:
        return replace(UNKNOWN, label=f"{UNKNOWN.label} ({pipeline})")
    family = _narrowed(family, path)
    if family.supported:
        for part in _NEEDED.get(family.family, _PARTS):
            if not (path / part / "config.json").is_file():
                raise WebuiError(f"{path.name} lacks {part}/config.json.", "Download the folder again.", FIELD)
    return family


def _narrowed(family: FileType, path: Path) -> FileType:
    """The more specific row for a folder, by its parts; the name of its pipeline is less specific."""
    try:
        unet = read_json(path / "unet" / "config.json")
    except FileNotFoundError:
        return family
    except ValueError as error:
        raise WebuiError(
            f"config.json in {path.name} cannot be read: {error}.", "Download the folder again.", FIELD
        ) from error
    if family.name == "sdxl" and not (path / "text_encoder").is_dir() and (path / "text_encoder_2").is_dir():
        return family_named("sdxl-refiner")
    if family.name == "sd1" and unet.get("cross_attention_dim") == _SD2_CONTEXT:
        family = family_named("sd2")
    if unet.get("in_channels") == _EDIT_CHANNELS and family.supported:
        return family_named(_EDIT.get(family.family, family.name))
    if unet.get("in_channels") == _DEPTH_CHANNELS and family.name == "sd2":
        return family_named("sd2-depth")
    if unet.get("in_channels") == _INPAINTING_CHANNELS and family.name in ("sd1", "sd2", "sdxl"):
        return family_named(f"{family.name}-inpaint")
    return family


def require_own_files(folder: Path) -> None:
    """Raises WebuiError for a link in a diffusers folder that leads outside, as one in a downloaded folder might.

    A snapshot in huggingface_hub's cache consists of links to the blobs of its repository, which count as inside.
    """
    home = real_path(folder)
    is_snapshot = home.parent.name == "snapshots" and home.parent.parent.name.startswith("models--")
    own = home.parent.parent if is_snapshot else home
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            each = Path(root) / name
            if each.is_symlink() and not real_path(each).is_relative_to(own):
                raise WebuiError(
                    f"{each.relative_to(folder).as_posix()} in {folder.name} is a link out of the folder.",
                    "Put the file itself in its place.",
                    FIELD,
                )


def _unreadable(path: Path, error: OSError) -> str:
    return f"{path.name} cannot be read: {error.strerror or error}."
