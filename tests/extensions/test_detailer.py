"""Detailer: which regions are redrawn, at what size, and that nothing else changes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageDraw

from modules.base.events import Failed, ImageDone, Stop, Warned
from modules.base.picture import Picture
from modules.images.detect import DETECTORS, detect
from modules.images.geometry import Box, Size
from modules.images.masks import blurred
from modules.images.regions import of_box, of_mask, parsed
from modules.processing.engine import Engine, create_engine
from modules.schema.catalog import Catalog, Checkpoint
from modules.schema.request import Img2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from tests.extensions.conftest import Stage, img2img, opened, part_of, refusal, txt2img, values_of
from tests.tiny import write_tiny_checkpoint

NAME = "Detailer"


def args(
    boxes: str = "",
    *,
    find: str = "Faces",
    strength: float = 0.4,
    padding: int = 8,
    blur: int = 2,
    prompt: str = "",
    first: bool = False,
) -> tuple[Any, ...]:
    return find, strength, padding, blur, boxes, prompt, first


def astronaut() -> Image.Image:
    return Image.fromarray(skimage.data.astronaut())


@pytest.mark.parametrize(("times", "mirrored"), [(1, True), (3, False)])
def test_the_face_of_a_photograph_is_found_at_any_size(mirrored: bool, times: int) -> None:
    picture = astronaut().resize((512 * times, 512 * times)) if times > 1 else astronaut()
    picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else picture
    (found,) = detect(picture, DETECTORS[0])
    left, top, right, bottom = (side / times for side in found.box)
    middle = 512 - 224 if mirrored else 224
    assert left < middle - 25 < middle + 25 < right
    assert top < 90 < 140 < bottom
    assert right - left < 160


@pytest.mark.parametrize("name", ["coffee", "coins"])
def test_no_faces_are_found_where_there_are_none(name: str) -> None:
    assert detect(Image.fromarray(getattr(skimage.data, name)()).convert("RGB"), DETECTORS[0]) == []


def test_several_faces_come_from_left_to_right() -> None:
    face = astronaut().crop((130, 20, 320, 210))
    row = Image.new("RGB", (760, 200), (90, 110, 130))
    for left, size in ((10, 120), (250, 190), (560, 150)):
        row.paste(face.resize((size, size)), (left, 5))
    found = detect(row, DETECTORS[0])
    assert [each.box.left // 200 for each in found] == [0, 1, 2]


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (20, 20)])
def test_tiny_pictures_hold_nothing(size: tuple[int, int]) -> None:
    assert [detect(Image.new("RGB", size), each) for each in DETECTORS] == [[]] * len(DETECTORS)


@pytest.mark.parametrize("box", [Box(20, 20, 60, 70), Box(0, 0, 40, 40), Box(80, 50, 96, 64), Box(30, 30, 38, 38)])
def test_the_soft_edge_of_a_box_lies_within_it(box: Box) -> None:
    region = of_box(box, Size(96, 64), 8)
    soft = np.asarray(blurred(region.mask, region.blur, region.blur)).copy()
    assert soft[box.top : box.bottom, box.left : box.right].max() > 200
    soft[box.top : box.bottom, box.left : box.right] = 0
    assert soft.max() == 0


def test_the_parts_of_a_mask_are_regions() -> None:
    mask = Image.new("L", (96, 64))
    ImageDraw.Draw(mask).ellipse((5, 5, 20, 20), fill=255)
    ImageDraw.Draw(mask).rectangle((50, 10, 89, 59), fill=200)
    one, other = of_mask(mask, 4)
    assert (one.box, other.box) == (Box(50, 10, 90, 60), Box(5, 5, 21, 21))
    assert one.mask.getpixel((60, 30)) == 200
    assert other.mask.getbbox() == (5, 5, 21, 21)


def test_boxes_are_written_as_lines_or_with_semicolons() -> None:
    assert parsed("1, 2, 30, 40\n\n5,6,70.4,80;  ", "f") == [Box(1, 2, 30, 40), Box(5, 6, 70, 80)]


def test_each_box_is_redrawn_in_what_the_one_before_has_left(stage: Stage) -> None:
    stage.pictures(img2img(NAME, *args("8, 8, 40, 40\n56, 16, 88, 56", strength=0.3, prompt="an eye"), prompt="a fox"))
    requested = values_of(
        stage.requested, "prompt", "denoising_strength", "inpaint_full_res", "inpaint_full_res_padding", "seed"
    )
    assert requested == [("an eye", 0.3, 1, 8, 7)] * 2
    assert stage.requested[1].init_images[0].rgb().size != (96, 64)  # type: ignore[attr-defined]  # the stage's picture


def test_a_region_is_redrawn_at_the_checkpoints_own_size_in_its_proportions() -> None:
    extension = part_of("detailer", "extension")
    region = of_box(Box(0, 0, 100, 200), Size(300, 300), 4)
    assert extension._native(region, 0, 512) == Size(384, 704)
    assert extension._native(region, 0, 1024) == Size(704, 1472)
    assert extension._native(of_box(Box(0, 0, 290, 10), Size(300, 300), 4), 0, 256) == Size(512, 64)


def test_faces_of_a_new_picture_are_redrawn(stage: Stage) -> None:
    events = stage.events(txt2img(NAME, *args(), n_iter=2))
    warnings = [event.message for event in events if isinstance(event, Warned)]
    assert warnings == [f"Detailer: no faces were found in the picture of seed {seed}." for seed in (7, 8)]
    assert [event.seed for event in events if isinstance(event, ImageDone)] == [7, 8]
    boxed = stage.pictures(txt2img(NAME, *args("8, 8, 40, 40")))
    assert "Detailer: Faces, Detailer strength: 0.4, Detailer padding: 8" in boxed[0].infotext
    assert 'Detailer boxes: "8, 8, 40, 40"' in boxed[0].infotext
    assert isinstance(stage.requested[-1], Img2ImgRequest)


def test_without_a_face_the_source_stays_and_the_reason_is_told(stage: Stage) -> None:
    events = stage.events(img2img(NAME, *args()))
    assert events == [
        Failed("Detailer: no faces were found in the source.", "Draw a mask, or set boxes.", "script_args.boxes")
    ]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (args("1, 2, 3"), "'1, 2, 3': expected left, top, right, bottom"),
        (args("1, 2, 3, x"), "expected left, top, right, bottom"),
        (args("1, 2, 4, 4"), "at least 8 pixels a side"),
        (args("1e99, 2, nan, inf"), "expected left, top, right, bottom"),
        (args("200, 2, 300, 40"), "lies outside of the picture, which is 96x64"),
        (args("1,1,20,20;" * 65), "there are 65, at most 64"),
        (args(find="Hands"), "Find = 'Hands': expected one of Faces, Eyes, People, Cat faces."),
        (args(strength=2), "Strength"),
    ],
)
def test_what_cannot_be_detailed(stage: Stage, values: tuple[Any, ...], words: str) -> None:
    assert words in str(refusal(lambda: stage.extensions.checked(img2img(NAME, *values), Catalog())))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return create_engine("cpu", "full", str(tmp_path_factory.mktemp("cache")), "extensions")


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> Resources:
    path = write_tiny_checkpoint(Path(tmp_path_factory.mktemp("models")) / "tiny.safetensors")
    checkpoint = Checkpoint("tiny", path, defaults={"width": 64, "height": 64})
    return Resources(checkpoint, catalog=Catalog((checkpoint,)))


def changed_box(engine: Engine, resources: Resources, picture: Image.Image, *values: Any, **fields: Any) -> Any:
    """The box of the pixels that differ from the source, and the picture's infotext."""
    request = img2img(NAME, *values, init_images=(Picture.from_image(picture),), steps=2, **fields)
    done = [
        each for each in engine.run(request, Settings(), resources, lambda: Stop.NONE) if isinstance(each, ImageDone)
    ]
    (result,) = done
    before, after = np.asarray(picture), np.asarray(opened(result))
    rows, columns = np.nonzero((before != after).any(axis=2))
    return Box(int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1), result.infotext


def test_nothing_outside_of_the_box_changes(engine: Engine, resources: Resources) -> None:
    picture = astronaut().resize((200, 160))
    box, text = changed_box(engine, resources, picture, *args("40, 30, 100, 90"))
    assert (box.left >= 40, box.top >= 30, box.right <= 100, box.bottom <= 90) == (True,) * 4
    assert (box.size.width > 40, box.size.height > 40) == (True, True)
    assert "Detailer strength: 0.4" in text


def test_a_found_face_is_redrawn_and_nothing_else(engine: Engine, resources: Resources) -> None:
    picture = astronaut()
    ((face, _),) = detect(picture, DETECTORS[0])
    box, text = changed_box(engine, resources, picture, *args())
    assert (box.left >= face.left, box.top >= face.top, box.right <= face.right, box.bottom <= face.bottom) == (
        True,
    ) * 4
    assert f'Detailer boxes: "{", ".join(map(str, face))}"' in text
