"""Finding faces and other things in a picture, with the Haar cascades that come with OpenCV.

Viola & Jones 2001, "Rapid Object Detection using a Boosted Cascade of Simple Features".
"""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modules.images.geometry import Box, Size

CASCADES = Path(cv2.__file__).parent / "data"
LONGEST = 960  # pixels: larger pictures are looked at in this size
SMALLEST = 24  # pixels of what is looked for, in the size that is looked at
PER_OCTAVE = 1.1  # from one size of the window to the next
NEIGHBORS = 5  # windows that must agree
SAME = 0.3  # share of the union from which two boxes are one thing
MOST = 64  # boxes that are returned


@dataclass(frozen=True)
class Detector:
    """Something that can be looked for. `grow`: share of a box by which each of its sides moves outward."""

    name: str
    cascades: tuple[str, ...]
    mirrored: tuple[str, ...] = ()
    grow: float = 0.0


# A frontal face's cascade ends at eyebrows and mouth; what is redrawn is to hold hair and chin.
DETECTORS = (
    Detector("Faces", ("frontalface_alt2", "profileface"), ("profileface",), grow=0.15),
    Detector("Eyes", ("eye_tree_eyeglasses",), grow=0.1),
    Detector("People", ("fullbody", "upperbody")),
    Detector("Cat faces", ("frontalcatface", "frontalcatface_extended"), grow=0.1),
)
DETECTOR_NAMES = tuple(detector.name for detector in DETECTORS)


class Found(NamedTuple):
    """`score` compares the boxes of one detector: higher is surer."""

    box: Box
    score: float


def detect(image: Image.Image, detector: Detector) -> list[Found]:
    """What `detector` finds in `image`, from left to right; of boxes that overlap, the surest. At most MOST."""
    size = Size(*image.size)
    scale = min(1.0, LONGEST / max(size))
    seen = Size(max(1, round(size.width * scale)), max(1, round(size.height * scale)))
    gray = np.asarray(image.convert("L").resize(seen, Image.Resampling.BOX) if seen != size else image.convert("L"))
    plain = chain.from_iterable(_windows(gray, name) for name in detector.cascades)
    mirror = np.ascontiguousarray(gray[:, ::-1])
    turned = chain.from_iterable(_windows(mirror, name) for name in detector.mirrored)
    windows = [*plain, *(Found(_turned(box, seen.width), score) for box, score in turned)]
    kept: list[Found] = []
    for window in sorted(windows, key=lambda each: -each.score):
        if all(_overlap(window.box, other.box) < SAME for other in kept):
            kept.append(window)
    sized = [Found(_fitted(box, detector.grow, scale, size), score) for box, score in kept[:MOST]]
    return sorted(sized, key=lambda each: each.box)


def _windows(gray: NDArray[np.uint8], cascade: str) -> list[Found]:
    # Not kept: a cascade holds the state of its last search, and several requests may search at a time.
    classifier = cv2.CascadeClassifier(str(CASCADES / f"haarcascade_{cascade}.xml"))
    boxes, _, weights = classifier.detectMultiScale3(
        gray, PER_OCTAVE, NEIGHBORS, minSize=(SMALLEST, SMALLEST), outputRejectLevels=True
    )
    return [
        Found(Box(int(x), int(y), int(x + width), int(y + height)), float(weight))
        for (x, y, width, height), weight in zip(boxes, np.ravel(weights), strict=True)
    ]


def _turned(box: Box, width: int) -> Box:
    return Box(width - box.right, box.top, width - box.left, box.bottom)


def _overlap(one: Box, other: Box) -> float:
    """The boxes' intersection as a share of their union."""
    across = min(one.right, other.right) - max(one.left, other.left)
    down = min(one.bottom, other.bottom) - max(one.top, other.top)
    common = max(across, 0) * max(down, 0)
    return common / (_area(one) + _area(other) - common)


def _area(box: Box) -> int:
    return box.size.width * box.size.height


def _fitted(box: Box, grow: float, scale: float, size: Size) -> Box:
    """In pixels of the picture of `size`, `scale` times smaller than which it was looked at, and within it."""
    across, down = box.size.width * grow, box.size.height * grow
    return Box(
        max(0, int((box.left - across) / scale)),
        max(0, int((box.top - down) / scale)),
        min(size.width, int((box.right + across) / scale) + 1),
        min(size.height, int((box.bottom + down) / scale) + 1),
    )
