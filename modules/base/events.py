"""The events of a job. The engine yields them; the job's log stores them; page and API read the log."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


class Stop(enum.IntEnum):
    """What a person asked of a running job. SKIP ends the current batch, INTERRUPT the job."""

    NONE = 0
    SKIP = 1
    INTERRUPT = 2


@dataclass(frozen=True)
class Queued:
    """The job waits. `ahead` jobs run before it."""

    ahead: int


@dataclass(frozen=True)
class Started:
    """The engine begins. `steps` are the steps walked for each batch (fewer than asked for in img2img)."""

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

    `sheet` is set for several pictures on one: the name its file begins with. What is not `shown` is saved, and stays
    out of the gallery. `suffix` is set for what belongs to a picture: its mask, or what was painted under that.
    `texts` are all the texts of its file by key, `parameters` among them, where the file can hold several; else, and
    in the other formats, it holds the infotext alone.
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
        """Pillow's name for what `pixels` are."""
        return "RGB" if len(self.pixels) == 3 * self.width * self.height else "RGBA"

    def saved(self, path: str) -> "ImageSaved":
        """What followers see once it is saved as `path`."""
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
    """A finished picture as followers see it. `path` is relative to the outputs folder, with forward slashes."""

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
    """A file of a model that the job has made: its name in its folder, its bytes."""

    name: str
    size: int


@dataclass(frozen=True)
class Warned:
    """Something a person should know; the job goes on."""

    message: str


@dataclass(frozen=True)
class Parked:
    """Batch `batch` (0-based) ended the engine process twice, for the reason in `message`; the others are made."""

    batch: int
    message: str


@dataclass(frozen=True)
class LeftOut:
    """The job begins with its batch `batches`: those before it belong to the job of which it makes the rest."""

    batches: int


@dataclass(frozen=True)
class Unkept:
    """Nothing that the job makes is kept on the disk: all is for a client that waits, and is void without it."""


@dataclass(frozen=True)
class Finished:
    """The job is over. `timings`: seconds by stage; `interrupted` tells whether it was stopped before its end."""

    seconds: float
    timings: dict[str, float]
    interrupted: bool = False


@dataclass(frozen=True)
class Failed:
    """The job ended without finishing; pictures saved before stay. One sentence, a cure, the field at fault."""

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
