"""What the five intents make of drawings whose right answer is known, over a grid of values.

    python -m tests.bench.bench_intents remove [--vary denoising_strength=0.5,0.7 inpainting_fill=0,1] [--out FOLDER]

Each case is a drawing of the starter's world at 256x256, the mask a person would paint over it, a prompt, and the
drawing as it should become: really without the hat, really with another background. One JSON line for each
combination of values, with means over cases and seeds:

    off       distance (CIE L*a*b*, both blurred by 4 pixels) to the right answer in the redrawn area
    left      the same for the original picture: the result of doing nothing
    seam      the step across the edge of the redrawn area, minus the right answer's step there, of 255
    detail    fine contrast there divided by the right answer's: below 1 is blurred, above it noisy
    kept      whether every byte outside the reach of the mask's blur is unchanged

With --out, also a sheet: the pictures with tinted masks and the right answers at the top, then a row for each
combination.
"""

import argparse
import itertools
import json
import math
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modules.base.events import Failed, ImageDone, Stop
from modules.base.picture import Picture
from modules.images import masks
from modules.images.geometry import Margins
from modules.processing.engine import Engine, create_engine
from modules.schema.catalog import Checkpoint
from modules.schema.intents import INTENTS, intent
from modules.schema.request import Img2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.starter.backgrounds import BACKGROUNDS, plain
from modules.starter.noise import Field
from modules.starter.pen import Pen
from modules.starter.sheets import sheet
from modules.starter.spec import FIRST, Spec, random_spec
from modules.starter.world import draw
from tests.bench.bench_img2img import BUNDLED

Pixels = NDArray[np.uint8]
Where = NDArray[np.bool_]

SIDE = 256
MARGIN = 32  # pixels that are cut off each side of an expanded drawing
NONE = Margins(0, 0, 0, 0)
TINT = np.array((230, 40, 79))


@dataclass(frozen=True)
class Case:
    """source, answer: RGB.  painted: what a person masks.  redrawn: where the answer is compared (the answer's
    size).
    """

    source: Pixels
    answer: Pixels
    painted: Where
    redrawn: Where
    prompt: str
    margins: Margins = NONE


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("intents", nargs="*", help="(default: all)", metavar="INTENT")
    parser.add_argument("--vary", nargs="+", default=[], help="field=value,value … (default: the intent's own values)")
    parser.add_argument("--seeds", type=int, default=2, help="pictures a case and combination (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument("--cfg", type=float, default=5.0, help="(default: %(default)s)")
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED)
    parser.add_argument("--out", type=Path, help="folder for the sheets")
    options = parser.parse_args()
    grid = [(name, [json.loads(value) for value in values.split(",")]) for name, _, values in map(split, options.vary)]
    with tempfile.TemporaryDirectory() as cache:
        engine = create_engine("auto", "auto", cache)
        for name in options.intents or [found.name for found in INTENTS]:
            cases = list(CASES[name]())
            rows: list[tuple[str, list[Pixels]]] = []
            for values in itertools.product(*(values for _, values in grid)):
                changed = dict(zip((field for field, _ in grid), values, strict=True))
                pictures = [
                    [made(engine, options, name, changed, case, seed + 1) for seed in range(options.seeds)]
                    for case in cases
                ]
                blur = {**intent(name).values, **changed}["mask_blur"]
                found = [measured(case, one, blur) for case, some in zip(cases, pictures, strict=True) for one in some]
                means = {key: round(float(np.mean([each[key] for each in found])), 2) for key in found[0]}
                print(json.dumps({"intent": name, **changed, **means, "kept": means["kept"] == 1}), flush=True)
                label = " ".join(f"{field}={value}" for field, value in changed.items()) or name
                rows.append((label, [some[0] for some in pictures]))
            if options.out:
                options.out.mkdir(parents=True, exist_ok=True)
                laid_out(cases, rows).save(options.out / f"{name}.png")


def split(text: str) -> tuple[str, str, str]:
    return text.partition("=")


def made(
    engine: Engine, options: argparse.Namespace, name: str, changed: Mapping[str, Any], case: Case, seed: int
) -> Pixels:
    """The picture that the intent's values, some of them `changed`, produce for `case`."""
    values: dict[str, Any] = {**intent(name).values, **changed}
    if case.painted.any():
        values["mask"] = Picture.from_image(Image.fromarray(case.painted.astype(np.uint8) * 255, "L"))
    names = ("outpaint_left", "outpaint_top", "outpaint_right", "outpaint_bottom")
    values |= dict(zip(names, case.margins, strict=True))
    request = Img2ImgRequest(
        prompt=case.prompt, init_images=(Picture.from_image(Image.fromarray(case.source)),), seed=seed, subseed=1,
        cfg_scale=options.cfg, sampler_name="DPM++ 2M", scheduler="Karras", steps=options.steps, width=SIDE,
        height=SIDE, **values,
    )  # fmt: skip
    return rendered(engine, options.checkpoint, request)


def rendered(engine: Engine, checkpoint: Path, request: Img2ImgRequest) -> Pixels:
    """The one picture of `request`."""
    part = Checkpoint(checkpoint.stem, checkpoint)
    for event in engine.run(request, Settings(live_previews_enable=False), Resources(part), lambda: Stop.NONE):
        if isinstance(event, Failed):
            raise SystemExit(event.message)
        if isinstance(event, ImageDone):
            return np.frombuffer(event.pixels, np.uint8).reshape(event.height, event.width, 3)
    raise SystemExit("no picture was made")


# the cases


def bytes_of(picture: Field) -> Pixels:
    return np.around(picture * 255).clip(0, 255).astype(np.uint8)


def people() -> Iterator[Spec]:
    """Portraits in the most common styles, without hat and glasses."""
    for seed, style, background in ((3, "flat", "city"), (9, "watercolor", "sakura"), (16, "flat", "beach")):
        spec = random_spec(random.Random(seed), FIRST, style=style, background=background, portrait=True)
        assert spec.person is not None
        person = replace(spec.person, hat=None, glasses=None, hat_color="yellow")
        yield replace(spec, person=person, damage=None)


def things() -> Iterator[Spec]:
    """Objects in a landscape."""
    for seed, subject, background in ((5, "sailboat", "sea"), (7, "house", "field"), (8, "cat", "sakura")):
        spec = random_spec(random.Random(seed), FIRST, style="flat", background=background, portrait=False)
        yield replace(spec, subject=subject, damage=None)


def behind(spec: Spec, size: int = SIDE) -> Pixels:
    """Only the background of `spec`, as `draw` starts with it."""
    rng = random.Random(spec.seed)
    pen = Pen(size, rng, "outlined" if spec.outlined else "flat")
    if spec.background == "plain":
        plain(pen, spec.plain_colour)
    else:
        BACKGROUNDS[spec.background](pen)
    return bytes_of(pen.picture())


def words(spec: Spec, *first: str, background: str = "") -> str:
    style = {"flat": "flat illustration"}.get(spec.style, spec.style)
    behind_it = f"{background or spec.background} background"
    if spec.person is None:
        return ", ".join([*first, style, behind_it])
    person = spec.person
    return ", ".join([*first, person.who, f"{person.hair} hair", person.expression, style, behind_it])


def flat(spec: Spec) -> Pixels:
    """The same drawing before its style repaints everything: there, only the intended parts differ."""
    return bytes_of(draw(replace(spec, style="flat"), SIDE))


def apart(one: Pixels, other: Pixels, brush: int) -> Where:
    """Where two flat drawings differ, painted over with a brush that extends `brush` pixels beyond it."""
    different = (np.abs(one.astype(int) - other).max(axis=2) > 12).astype(np.uint8)
    different = cv2.morphologyEx(different, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    return cv2.dilate(different, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * brush + 1,) * 2)) > 0


def with_thing(spec: Spec, thing: str) -> Spec:
    assert spec.person is not None
    field = "glasses" if thing == "glasses" else "hat"
    return replace(spec, person=replace(spec.person, **{field: thing}))


def to_fill() -> Iterator[Case]:
    """A blob over background, hair and clothes."""
    for index, spec in enumerate(people()):
        answer = bytes_of(draw(spec, SIDE))
        blot = np.zeros((SIDE, SIDE), np.uint8)
        rng = random.Random(index)
        points = [(rng.randint(10, 246), rng.randint(10, 246)) for _ in range(4)]
        cv2.polylines(blot, [np.array(points, np.int32)], False, 255, 14)
        cv2.circle(blot, (rng.randint(30, 220), rng.randint(20, 80)), 22, 255, -1)
        source = np.where(blot[..., None] > 0, np.uint8(112), answer)
        painted = cv2.dilate(blot, np.ones((9, 9), np.uint8)) > 0
        yield Case(source, answer, painted, painted, words(spec))


def to_expand() -> Iterator[Case]:
    for spec in (*people(), next(things())):
        answer = bytes_of(draw(spec, SIDE))
        outside = np.ones((SIDE, SIDE), bool)
        outside[MARGIN:-MARGIN, MARGIN:-MARGIN] = False
        source = answer[MARGIN:-MARGIN, MARGIN:-MARGIN]
        style = {"flat": "flat illustration"}.get(spec.style, spec.style)
        prompt = f"no humans, scenery, {style}, {spec.background} background"
        yield Case(source, answer, np.zeros(source.shape[:2], bool), outside, prompt, Margins(*(MARGIN,) * 4))


def to_add() -> Iterator[Case]:
    for spec, thing in zip(people(), ("straw hat", "witch hat", "glasses"), strict=True):
        painted = apart(flat(spec), flat(with_thing(spec, thing)), 8)
        source, answer = (bytes_of(draw(each, SIDE)) for each in (spec, with_thing(spec, thing)))
        yield Case(source, answer, painted, painted, words(spec, thing))


def to_remove() -> Iterator[Case]:
    for spec, thing in zip(people(), ("witch hat", "glasses", "straw hat"), strict=True):
        painted = apart(flat(spec), flat(with_thing(spec, thing)), 6)
        source, answer = (bytes_of(draw(each, SIDE)) for each in (with_thing(spec, thing), spec))
        yield Case(source, answer, painted, painted, words(spec))
    for spec in things():
        source, answer = bytes_of(draw(spec, SIDE)), behind(spec)
        painted = apart(source, answer, 6)
        yield Case(source, answer, painted, painted, words(spec, "no humans", "scenery"))


def to_replace() -> Iterator[Case]:
    for spec, background in zip(people(), ("sakura", "beach", "night"), strict=True):
        source, answer = bytes_of(draw(spec, SIDE)), bytes_of(draw(replace(spec, background=background), SIDE))
        subject = apart(flat(spec), behind(spec), 1)
        yield Case(source, answer, subject, ~subject, words(spec, background=background))


CASES: Mapping[str, Callable[[], Iterator[Case]]] = {
    "fill": to_fill, "expand": to_expand, "add": to_add, "remove": to_remove, "replace_background": to_replace,
}  # fmt: skip


# the measures


def measured(case: Case, result: Pixels, blur: float) -> dict[str, float]:
    redrawn, answer = case.redrawn, case.answer
    before = np.asarray(case.source)
    if any(case.margins):
        left, top, right, bottom = case.margins
        before = np.pad(before, ((top, bottom), (left, right), (0, 0)), mode="edge")
    reach = 0 if any(case.margins) else masks.blur_kernel(blur) // 2
    far = cv2.distanceTransform((~redrawn).astype(np.uint8), cv2.DIST_C, 3) > reach
    return {
        "off": distance(result, answer, redrawn),
        "left": distance(before, answer, redrawn),
        "seam": step(result, redrawn) - step(answer, redrawn),
        "detail": contrast(result, redrawn) / contrast(answer, redrawn),
        "kept": float((result == before)[far].all()),
    }


def distance(one: Pixels, other: Pixels, where: Where) -> float:
    labs = [
        cv2.cvtColor(cv2.GaussianBlur(each.astype(np.float32) / 255, (0, 0), 4), cv2.COLOR_RGB2LAB)
        for each in (one, other)
    ]
    return float(np.linalg.norm(labs[0] - labs[1], axis=2)[where].mean())


def step(picture: Pixels, where: Where) -> float:
    """The mean difference between neighbors of which one is inside and one outside."""
    values = picture.astype(float)
    across, down = where[:, 1:] != where[:, :-1], where[1:] != where[:-1]
    differences = (
        np.abs(values[:, 1:] - values[:, :-1]).mean(axis=2)[across],
        np.abs(values[1:] - values[:-1]).mean(axis=2)[down],
    )
    return float(np.concatenate(differences).mean())


def contrast(picture: Pixels, where: Where) -> float:
    inner = cv2.erode(where.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.abs(cv2.Laplacian(gray, cv2.CV_32F))[inner].mean())


def laid_out(cases: Sequence[Case], rows: Sequence[tuple[str, Sequence[Pixels]]]) -> Image.Image:
    """A sheet about as wide as high: source, right answer, then each row, several of them side by side."""
    first: list[Pixels] = []
    for case in cases:
        shown = np.where(case.painted[..., None], (case.source * 0.5 + TINT * 0.5).astype(np.uint8), case.source)
        height, width = case.answer.shape[:2]
        left, top = (width - shown.shape[1]) // 2, (height - shown.shape[0]) // 2
        whole = np.zeros_like(case.answer)
        whole[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
        first.append(whole)
    blocks = [("source", first), ("as it should be", [case.answer for case in cases]), *rows]
    beside = max(1, round(math.sqrt(len(blocks) / len(cases))))
    pictures: list[Field] = [(one / 255).astype(np.float32) for _, block in blocks for one in block]
    return sheet(pictures, beside * len(cases), [name for name, block in blocks for _ in block])


if __name__ == "__main__":
    main()
