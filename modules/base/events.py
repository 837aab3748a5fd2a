"""The events of a job. The engine yields them; the job's log stores them; page and API read the log."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


class Stop(enum.IntEnum):
    """How a running job is to be stopped. SKIP ends the current batch, INTERRUPT the job."""

    NONE = 0
    SKIP = 1
    INTERRUPT = 2


@dataclass(frozen=True)
class Queued:
    """The job waits. `ahead` jobs run before it."""

    ahead: int


@dataclass(frozen=True)
class Started:
    """The engine begins. `steps` are the steps each batch takes (in img2img fewer than requested)."""

    images: int
    batches: int
    steps: int
    width: int
    height: int
    seed: int


@dataclass(frozen=True)
class Staged:
    """A named stage begins: "loading NAME", "encoding", "sampling", "decoding"."""

    stage: str


@dataclass(frozen=True)
class Stepped:
    """Step `step` (1-based) of `steps` of batch `batch` (0-based) is done."""

    batch: int
    step: int
    steps: int


@dataclass(frozen=True)
class Previewed:
    """What the picture looks like so far: an encoded JPEG of `width` x `height` pixels."""

    batch: int
    width: int
    height: int
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class ImageDone:
    """A finished picture, as the engine hands it over: raw RGB or RGBA, 3 or 4 * width * height bytes, row by row.

    `sheet` is the prefix of the file's name for several pictures on one sheet, else "". A picture that is not `shown`
    is saved but left out of the gallery. `suffix` is set for what goes with a picture, such as its mask. `texts` are
    all the texts of the file by key, including `parameters`, if its format can hold several; otherwise it holds only
    the infotext.
    """

    index: int
    seed: int
    width: int
    height: int
    infotext: str
    pixels: bytes = field(repr=False)
    sheet: str = ""
    shown: bool = True
    suffix: str = ""
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def mode(self) -> Literal["RGB", "RGBA"]:
        """Pillow's mode of `pixels`: "RGB" or "RGBA"."""
        return "RGB" if len(self.pixels) == 3 * self.width * self.height else "RGBA"

    def saved(self, path: str) -> "ImageSaved":
        """The event that followers get once it is saved as `path`."""
        return ImageSaved(
            self.index, self.seed, self.width, self.height, self.infotext, path, self.sheet, self.shown, self.suffix
        )


@dataclass(frozen=True)
class LargeImageDone:
    """A finished picture that is too large for memory: a whole file at `path`, in the job's folder, of this format.

    `sha256` is the file's. `small` is the picture reduced, as WebP.
    """

    index: int
    seed: int
    width: int
    height: int
    infotext: str
    path: str
    format: str
    sha256: str
    small: bytes = field(repr=False)
    sheet: str = ""
    shown: bool = True
    suffix: str = ""

    def saved(self, path: str) -> "ImageSaved":
        """What followers see once it is saved as `path`."""
        return ImageSaved(
            self.index, self.seed, self.width, self.height, self.infotext, path, self.sheet, self.shown, self.suffix
        )


PictureDone = ImageDone | LargeImageDone


@dataclass(frozen=True)
class ImageSaved:
    """A finished picture for followers. `path` is relative to the outputs folder, with forward slashes."""

    index: int
    seed: int
    width: int
    height: int
    infotext: str
    path: str
    sheet: str = ""
    shown: bool = True
    suffix: str = ""


@dataclass(frozen=True)
class FileSaved:
    """The job has written a model file: its name in its folder, and its size in bytes."""

    name: str
    size: int


@dataclass(frozen=True)
class Warned:
    """Something the user should know; the job continues."""

    message: str


@dataclass(frozen=True)
class Parked:
    """Batch `batch` (0-based) crashed the engine process twice, for the reason in `message`; the others are made."""

    batch: int
    message: str


@dataclass(frozen=True)
class LeftOut:
    """The job starts at batch `batches` (0-based): it completes another job, which made those before."""

    batches: int


@dataclass(frozen=True)
class Unkept:
    """The job saves nothing to disk: its results are for a waiting client and are discarded if that disconnects."""


@dataclass(frozen=True)
class Finished:
    """The job is over. `timings`: seconds by stage; `interrupted`: whether it was stopped before its end."""

    seconds: float
    timings: dict[str, float]
    interrupted: bool = False


@dataclass(frozen=True)
class Failed:
    """The job failed; pictures saved before stay. `hint` is the cure, `field` the field at fault."""

    message: str
    hint: str = ""
    field: str = ""


Event = (
    Queued
    | Started
    | Staged
    | Stepped
    | Previewed
    | ImageDone
    | LargeImageDone
    | ImageSaved
    | FileSaved
    | Warned
    | Parked
    | LeftOut
    | Unkept
    | Finished
    | Failed
)
ENDINGS = (Finished, Failed)


@dataclass(frozen=True)
class EngineState:
    """What the engine process is doing outside of jobs, for the line under the checkpoint selector.

    `state` is one of starting, loading, ready, failed, unloaded (until the next job), stopped. `checkpoint` is the name
    that is loaded or loading, `text_width` how wide its text encoder's vectors are once it is loaded.
    """

    state: str
    checkpoint: str = ""
    checkpoint_hash: str = ""
    message: str = ""
    device: str = ""
    text_width: int = 0
