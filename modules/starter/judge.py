"""An honest judge of a checkpoint: a small classifier that never saw a generated picture.

It is trained on softened renders of the drawn world, and its own accuracy on held-out renders that went through the
checkpoint's autoencoder is printed first: no measurement can be better than its ruler.
It shares no code with the training of the checkpoint but the drawings.

Every attribute is measured twice from the same seeds: with the word, and with a control prompt that names another
value. What counts is that the word is right and the control is wrong: a picture may be pink for other reasons.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
import torch.nn.functional as functional
from torch import nn

from modules.starter.noise import Field
from modules.starter.spec import FIRST, FULL, Mix, Spec, random_spec
from modules.starter.studio import Studio
from modules.starter.world import draw

PARTS: Final = ("prompts", "tutorial", "strength", "guidance", "doodle", "mended", "unknown")
LOOK: Final = 96
PORTRAIT: Final = "portrait"
HEADS: Final[Mapping[str, tuple[str, ...]]] = {
    "background": tuple(FULL.backgrounds),
    "hair": tuple(FULL.hair),
    # Oil, pixel art and crayon were tried: softened as a decoded picture is, they are not told from others well enough.
    "style": tuple(FIRST.styles),
    "subject": (PORTRAIT, *FULL.scenes),
}
EXPRESSIONS: Final = ("smile", "sad", "neither")
# Colours cannot be told in a picture that has none; such pictures do not teach the head of hair.
COLOURED: Final = ("flat", "watercolor")


def labels(spec: Spec) -> dict[str, int]:
    """The class of each head of `Eye`, -1 where the picture does not tell."""
    person = spec.person
    return {
        "background": HEADS["background"].index(spec.background) if person else -1,
        "style": HEADS["style"].index(spec.style),
        "hair": HEADS["hair"].index(person.hair) if person and spec.style in COLOURED else -1,
        "subject": HEADS["subject"].index(spec.subject),
    }


def expression_class(spec: Spec) -> int:
    assert spec.person is not None
    expression = spec.person.expression
    return EXPRESSIONS.index("smile" if "smile" in expression else "sad" if expression == "sad" else "neither")


class Eye(nn.Module):
    """A small convolutional classifier with one head per attribute and one for the face's place."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for i in range(4):
            out = width * 2 ** min(i, 2)
            layers += [
                nn.Conv2d(channels, out, 3, padding=1, stride=1 if i == 0 else 2),
                nn.BatchNorm2d(out),
                nn.ReLU(),
            ]
            channels = out
        self.body = nn.Sequential(*layers)
        side = LOOK // 8
        # Attributes sit in known places, so the map is read whole, not averaged.
        self.read = nn.Sequential(
            nn.Conv2d(channels, 16, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(16 * side * side, 96),
            nn.ReLU(),
        )
        self.heads = nn.ModuleDict({name: nn.Linear(96 + channels, len(values)) for name, values in HEADS.items()})
        self.place = nn.Linear(96, 2)

    def forward(self, pictures: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Pictures (n, 3, 96, 96) in [-1, 1]; logits by head, and the face's centre as shares of the side."""
        seen = self.body(pictures)
        read = self.read(seen)
        both = torch.cat([read, seen.mean((2, 3))], 1)
        return {name: head(both) for name, head in self.heads.items()}, self.place(read)


class Lips(nn.Module):
    """Reads the expression from the lower face, which is looked at closely."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for out, stride in ((16, 1), (32, 2), (48, 2), (48, 2)):
            layers += [nn.Conv2d(channels, out, 3, padding=1, stride=stride), nn.BatchNorm2d(out), nn.ReLU()]
            channels = out
        self.read = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(48 * 6 * 7, len(EXPRESSIONS)))

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Lower faces (n, 3, 48, 56) in [-1, 1]; logits of `EXPRESSIONS`."""
        return self.read(faces)


KEPT: Final = ("eye", "lips")


def stacked(pictures: Sequence[Field]) -> torch.Tensor:
    """(n, 3, h, w) in [-1, 1]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous().float() * 2 - 1


def as_seen(pictures: Sequence[Field]) -> torch.Tensor:
    """Whole pictures for `Eye`."""
    return stacked([cv2.resize(picture, (LOOK, LOOK), interpolation=cv2.INTER_AREA) for picture in pictures])


def lower_faces(pictures: Sequence[Field]) -> torch.Tensor:
    """The middle of each picture, where mouth and eyes are, for `Lips`."""
    faces: list[Field] = []
    for picture in pictures:
        unit = picture.shape[0] / 256
        left, top, right, bottom = (round(edge * unit) for edge in (72, 104, 184, 200))
        faces.append(cv2.resize(picture[top:bottom, left:right], (56, 48), interpolation=cv2.INTER_AREA))
    return stacked(faces)


@dataclass(frozen=True)
class Judge:
    """The trained classifiers and how often they are right on held-out renders, by attribute."""

    eye: Eye
    lips: Lips
    accuracy: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def device(self) -> torch.device:
        return next(self.eye.parameters()).device

    @torch.no_grad()
    def look(self, pictures: Sequence[Field]) -> tuple[dict[str, list[str]], np.ndarray]:
        """What is seen in each picture, by attribute, and the face's centre (n, 2) as shares of the side."""
        device = self.device
        logits, places = self.eye(as_seen(pictures).to(device))
        seen = {name: [HEADS[name][i] for i in value.argmax(1).tolist()] for name, value in logits.items()}
        seen["expression"] = [EXPRESSIONS[i] for i in self.lips(lower_faces(pictures).to(device)).argmax(1).tolist()]
        return seen, places.cpu().numpy()


def judged_mix() -> Mix:
    """The whole world in the styles of `HEADS`, undamaged and seen from near, a third scenes."""
    return replace(FULL, styles=FIRST.styles, portraits=0.67, damage=0.0, distances=0.0, closed_eyes=0.0)


@dataclass(frozen=True)
class Renders:
    """Pictures as the eye sees them, (n, 3, 96, 96), their classes by attribute, their faces' centres (n, 2).

    A class is -1 where the picture does not tell, a place is not a number where there is no face.
    """

    pictures: torch.Tensor
    targets: dict[str, torch.Tensor]
    places: torch.Tensor


def softened(picture: Field, rng: random.Random, most: float = 1.4) -> Field:
    """About as soft as a decoded picture, more or less; `most` is the deviation of the blur in 128ths of the width."""
    height, width = picture.shape[:2]
    sigma = rng.uniform(0.1, most) * width / 128
    blurred = cv2.GaussianBlur(picture, (0, 0), sigma)
    grain = np.random.RandomState(rng.randrange(1 << 30)).randn(height, width, 3) * rng.uniform(0, 0.06)
    return np.clip(blurred + grain, 0, 1).astype(np.float32)


def face_place(spec: Spec) -> tuple[float, float]:
    """The face's centre as shares of the side."""
    if spec.person is None:
        return math.nan, math.nan
    return spec.person.centre_x / 256, spec.person.centre_y / 256


def renders(count: int, rng: random.Random, studio: Studio | None = None, size: int = 128) -> Renders:
    """Drawn pictures with known attributes, softened, or passed through the autoencoder of `studio`."""
    mix = judged_mix()
    specs = [random_spec(rng, mix) for _ in range(count)]
    seen: list[torch.Tensor] = []
    for first in range(0, count, 8):
        drawn = [draw(spec, size) for spec in specs[first : first + 8]]
        shown = studio.decode(studio.encode(drawn)) if studio else [softened(picture, rng) for picture in drawn]
        seen.append(as_seen(shown))
    rows = [labels(spec) for spec in specs]
    places = torch.tensor([face_place(spec) for spec in specs])
    targets = {name: torch.tensor([row[name] for row in rows]) for name in HEADS}
    return Renders(torch.cat(seen), targets, places)


def train_eye(count: int = 4000, epochs: int = 10, seed: int = 12, device: str = "cpu") -> Eye:
    torch.manual_seed(seed)
    known = renders(count, random.Random(seed))
    pictures, places = known.pictures.to(device), known.places.to(device)
    targets = {name: value.to(device) for name, value in known.targets.items()}
    eye = Eye().to(device)
    batch = 32
    optimizer = torch.optim.AdamW(eye.parameters(), 2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, epochs * (count // batch))
    for _ in range(epochs):
        order = torch.randperm(count).to(device)
        for first in range(0, count - batch + 1, batch):
            rows = order[first : first + batch]
            light, tint = 1 + 0.1 * torch.randn(batch, 1, 1, 1), 0.05 * torch.randn(batch, 3, 1, 1)
            logits, where = eye(pictures[rows] * light.to(device) + tint.to(device))
            face = targets["subject"][rows] == HEADS["subject"].index(PORTRAIT)
            loss = 20 * functional.mse_loss(where[face], places[rows][face])
            for name, value in logits.items():
                loss = loss + functional.cross_entropy(value, targets[name][rows], ignore_index=-1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return eye.eval()


def jolted(pictures: torch.Tensor, reach: int) -> torch.Tensor:
    """Brighter or darker, shifted by up to `reach` pixels, half of them mirrored: what a close look must stand."""
    count = len(pictures)
    light = (1 + 0.15 * torch.randn(count, 1, 1, 1)).to(pictures.device)
    shift = tuple(int(x) for x in torch.randint(-reach, reach + 1, (2,)))
    moved = torch.roll(pictures, shift, (2, 3))
    mirrored = (torch.rand(count, 1, 1, 1) < 0.5).to(pictures.device)
    return torch.where(mirrored, moved.flip(3), moved) * light


def fit(network: nn.Module, pictures: torch.Tensor, targets: torch.Tensor, epochs: int, reach: int) -> None:
    """Train a classifier of one attribute."""
    count, batch = len(pictures), 32
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, epochs * (count // batch))
    for _ in range(epochs):
        order = torch.randperm(count).to(pictures.device)
        for first in range(0, count - batch + 1, batch):
            rows = order[first : first + batch]
            loss = functional.cross_entropy(network(jolted(pictures[rows], reach)), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()


def train_lips(count: int = 1800, epochs: int = 12, seed: int = 13, size: int = 192, device: str = "cpu") -> Lips:
    torch.manual_seed(seed)
    rng = random.Random(seed)
    mix = expressions_mix()
    specs = [random_spec(rng, mix) for _ in range(count)]
    faces = torch.cat([lower_faces([softened(draw(spec, size), rng)]) for spec in specs])
    targets = torch.tensor([expression_class(spec) for spec in specs])
    lips = Lips().to(device)
    fit(lips, faces.to(device), targets.to(device), epochs, 3)
    return lips


def expressions_mix() -> Mix:
    """Portraits in the styles that show a mouth, smiles as often as sad and other faces."""
    expressions = {"light smile": 24, "big smile": 10, "sad": 33, "neutral": 23, "surprised": 5, "angry": 5}
    return replace(
        judged_mix(), portraits=1.0, expressions=expressions, styles={"flat": 1, "watercolor": 1}, spread=0.6
    )


def trained_judge(studio: Studio, size: int, kept: Path | None, held_out: int = 240) -> Judge:
    """A judge whose accuracy is measured on held-out renders after the autoencoder; `kept` stores the classifiers."""
    device = str(studio.device)
    if kept is not None and kept.exists():
        content = torch.load(kept, weights_only=True)
        judge = Judge(Eye().to(device), Lips().to(device))
        for name in KEPT:
            network: nn.Module = getattr(judge, name)
            network.load_state_dict(content[name])
            network.eval()
    else:
        judge = Judge(train_eye(device=device), train_lips(device=device))
        if kept is not None:
            torch.save({name: getattr(judge, name).state_dict() for name in KEPT}, kept)
    return replace(judge, accuracy=measured_accuracy(judge, studio, size, held_out))


@torch.no_grad()
def measured_accuracy(judge: Judge, studio: Studio, size: int, count: int) -> dict[str, float]:
    """How often each attribute is read right after the autoencoder of `studio`."""

    def passed(mix: Mix, seed: int) -> tuple[list[Spec], dict[str, list[str]], np.ndarray]:
        rng = random.Random(seed)
        specs = [random_spec(rng, mix) for _ in range(count)]
        decoded: list[Field] = []
        for first in range(0, count, 8):
            decoded += studio.decode(studio.encode([draw(spec, size) for spec in specs[first : first + 8]]))
        return specs, *judge.look(decoded)

    specs, seen, places = passed(judged_mix(), 77_777)
    result: dict[str, float] = {}
    for name, values in HEADS.items():
        told = [(values[labels(spec)[name]], value) for spec, value in zip(specs, seen[name], strict=True)]
        result[name] = share([a == b for (a, b), spec in zip(told, specs, strict=True) if labels(spec)[name] >= 0])
    faces = [
        max(abs(x - place[0]), abs(y - place[1])) < 0.1
        for (x, y), place in zip(map(face_place, specs), places.tolist(), strict=True)
        if not math.isnan(x)
    ]
    result["face within 10 % of width"] = share(faces)
    specs, seen, _ = passed(expressions_mix(), 99_999)
    result["expression"] = share(
        [value == EXPRESSIONS[expression_class(spec)] for spec, value in zip(specs, seen["expression"], strict=True)]
    )
    return result


@dataclass(frozen=True)
class Question:
    """An attribute, the prompt that names `value`, and the same prompt naming another one."""

    attribute: str
    value: str
    prompt: str
    control: str


QUESTIONS: Final = (
    Question("background", "sakura", "girl, brown hair, sakura background", "girl, brown hair, forest background"),
    Question("background", "city", "girl, brown hair, city background", "girl, brown hair, beach background"),
    Question("background", "forest", "girl, blonde hair, forest background", "girl, blonde hair, city background"),
    Question("background", "beach", "boy, black hair, beach background", "boy, black hair, night sky"),
    Question("background", "night", "girl, white hair, night sky", "girl, white hair, sunset background"),
    Question("background", "sunset", "girl, brown hair, sunset background", "girl, brown hair, sakura background"),
    Question("hair", "pink", "girl, pink hair, city background, anime", "girl, black hair, city background, anime"),
    Question(
        "hair", "blonde", "girl, blonde hair, forest background, anime", "girl, red hair, forest background, anime"
    ),
    Question("hair", "blue", "girl, blue hair, beach background, anime", "girl, brown hair, beach background, anime"),
    Question("hair", "red", "girl, red hair, simple background, anime", "girl, blue hair, simple background, anime"),
    Question("style", "watercolor", "watercolor, girl, city background", "flat illustration, girl, city background"),
    Question("style", "pencil", "pencil sketch, girl, forest background", "watercolor, girl, forest background"),
    Question("style", "flat", "flat illustration, girl, beach background", "watercolor, girl, beach background"),
    Question("style", "neon", "neon, girl, city background", "flat illustration, girl, city background"),
    Question("style", "line", "line drawing, girl, city background", "watercolor, girl, city background"),
    Question("background", "mountains", "girl, red hair, mountains", "girl, red hair, bedroom"),
    Question("background", "room", "boy, brown hair, room", "boy, brown hair, meadow"),
    Question("background", "field", "girl, black hair, meadow", "girl, black hair, city background"),
    Question("hair", "purple", "girl, purple hair, meadow, anime", "girl, blonde hair, meadow, anime"),
    Question("subject", "house", "house, flat illustration", "castle, flat illustration"),
    Question("subject", "car", "red car, flat illustration", "dog, flat illustration"),
    Question("subject", "flowers", "flowers in a vase, watercolor", "fish, watercolor"),
    Question("expression", "smile", "girl, light smile, brown hair", "girl, sad, brown hair"),
    Question("expression", "sad", "girl, sad, blonde hair", "girl, light smile, blonde hair"),
)
DOODLES: Final[Mapping[str, str]] = {
    "house": "house, flat illustration, meadow",
    "tree": "tree, flat illustration, meadow",
    "cat": "cat, flat illustration, simple background",
    "sailboat": "sailboat, flat illustration, sea",
}
UNKNOWN: Final = ("a photo of a zebra", "quarterly revenue spreadsheet", "zxqv brmpf")
TUTORIAL: Final = "watercolor, light smile, Sakura background"
TUTORIAL_QUESTIONS: Final = (
    Question("style", "watercolor", TUTORIAL, "flat illustration, light smile, Sakura background"),
    Question("expression", "smile", TUTORIAL, "watercolor, sad, Sakura background"),
    Question("background", "sakura", TUTORIAL, "watercolor, light smile, forest background"),
)


def edge_map(picture: Field) -> np.ndarray:
    grey = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), 2.0)
    return np.hypot(cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1))


def similarity(first: Field, second: Field) -> float:
    """Correlation of two pictures' edge maps."""
    return float(np.corrcoef(edge_map(first).ravel(), edge_map(second).ravel())[0, 1])


def start_pictures(count: int, size: int, seed: int = 500) -> list[Field]:
    """Girls in front of city buildings, drawn flat; none of them smiles."""
    rng = random.Random(seed)
    mix = replace(FIRST, who={"girl": 1}, expressions={"neutral": 1}, hats={"cat ears": 1}, hat=0.0)
    return [draw(random_spec(rng, mix, style="flat", background="city", portrait=True), size) for _ in range(count)]


def share(values: Sequence[bool]) -> float:
    return sum(values) / len(values)


@dataclass(frozen=True)
class Session:
    """What all measurements need: who paints, who looks, and how."""

    studio: Studio
    judge: Judge
    size: int
    steps: int
    scale: float
    say: Callable[[str], None]
    painted: dict[tuple[object, ...], list[Field]] = field(default_factory=dict[tuple[object, ...], list[Field]])

    def paint(
        self, prompt: str, seeds: int, start: Sequence[Field] | None, strength: float, scale: float
    ) -> list[Field]:
        """A picture from each seed; what was painted for an earlier question is not painted again."""
        key = (prompt, seeds, strength, scale, start is not None)
        if key not in self.painted:
            self.painted[key] = self.studio.paint(
                [prompt] * seeds, range(seeds), self.size, self.size, scale, self.steps, start, strength
            )
        return self.painted[key]

    def answer(
        self,
        question: Question,
        seeds: int,
        start: Sequence[Field] | None = None,
        strength: float = 1.0,
        scale: float | None = None,
    ) -> tuple[float, float, list[Field]]:
        """How often the word is seen with it, and with the control; and the pictures with it."""
        shown: list[float] = []
        pictures: list[Field] = []
        for prompt in (question.prompt, question.control):
            painted = self.paint(prompt, seeds, start, strength, scale or self.scale)
            seen, _ = self.judge.look(painted)
            shown.append(share([value == question.value for value in seen[question.attribute]]))
            pictures = pictures or painted
        return shown[0], shown[1], pictures

    def row(self, name: str, right: float, wrong: float) -> None:
        self.say(f"| {name} | {right:.0%} | {wrong:.0%} |")


def prompts_table(session: Session, seeds: int) -> None:
    session.say(
        f"\ntxt2img, {seeds} seeds each, scale {session.scale:g}\n\n"
        "| named | seen with the word | seen with the control |\n|---|---|---|"
    )
    for question in QUESTIONS:
        right, wrong, _ = session.answer(question, seeds)
        session.row(f"{question.attribute}: {question.value}", right, wrong)


def tutorial_table(session: Session, seeds: int, scale: float, strength: float = 0.65) -> None:
    starts = start_pictures(seeds, session.size)
    session.say(
        f"\nimg2img `{TUTORIAL}`, strength {strength}, scale {scale:g}, {seeds} start pictures\n\n"
        "| | with the word | with the control |\n|---|---|---|"
    )
    pictures: list[Field] = []
    for question in TUTORIAL_QUESTIONS:
        right, wrong, pictures = session.answer(question, seeds, starts, strength, scale)
        session.row(question.value, right, wrong)
    _, before = session.judge.look(starts)
    _, after = session.judge.look(pictures)
    kept = share(list(np.abs(before - after).max(1) < 0.1))
    likeness = float(np.mean([similarity(a, b) for a, b in zip(starts, pictures, strict=True)]))
    session.say(
        f"| face within 10 % of width | {kept:.0%} | |\n\nmean edge-map correlation with the start: {likeness:.2f}"
    )


def strength_table(session: Session, seeds: int, strengths: Sequence[float]) -> None:
    starts = start_pictures(seeds, session.size)
    session.say("\n| strength | mean absolute difference to the start |\n|---|---|")
    last, rising = -1.0, True
    for strength in strengths:
        painted = session.paint(TUTORIAL, seeds, starts, strength, session.scale)
        distance = float(np.mean([np.abs(a - b).mean() for a, b in zip(starts, painted, strict=True)]))
        rising, last = rising and distance > last, distance
        session.say(f"| {strength:.1f} | {distance:.4f} |")
    session.say(f"\nrises at every step: {'yes' if rising else 'no'}")


def guidance_table(session: Session, seeds: int, scales: Sequence[float] = (1, 3, 7, 11)) -> None:
    session.say("\n| scale | background as named | saturated pixels |\n|---|---|---|")
    for scale in scales:
        hits: list[bool] = []
        burnt: list[float] = []
        for question in QUESTIONS[:3]:
            painted = session.paint(question.prompt, seeds, None, 1.0, scale)
            seen, _ = session.judge.look(painted)
            hits += [value == question.value for value in seen["background"]]
            burnt += [float(((picture < 0.01) | (picture > 0.99)).mean()) for picture in painted]
        session.say(f"| {scale:g} | {share(hits):.0%} | {np.mean(burnt):.1%} |")


def doodles(subject: str, count: int, size: int) -> list[Field]:
    """Line drawings of `subject`, as somebody would scribble them: no colour, no background."""
    rng = random.Random(f"doodle {subject}")
    specs = [random_spec(rng, FIRST, style="line", portrait=False) for _ in range(count)]
    return [draw(replace(spec, subject=subject, background="plain", plain_colour="white"), size) for spec in specs]


def doodle_table(session: Session, seeds: int, strength: float = 0.8) -> None:
    """A doodle becomes a flat coloured picture of what the prompt names; the control names something else."""
    session.say(
        f"\nimg2img from a doodle, strength {strength:g}, {seeds} doodles each\n\n"
        "| doodle and word | subject as named, flat and coloured | seen with another word |\n|---|---|---|"
    )
    names = list(DOODLES)
    for i, subject in enumerate(names):
        starts = doodles(subject, seeds, session.size)
        shares: list[float] = []
        for named in (subject, names[(i + 1) % len(names)]):
            painted = session.studio.paint(
                [DOODLES[named]] * seeds,
                range(seeds),
                session.size,
                session.size,
                session.scale,
                session.steps,
                starts,
                strength,
            )
            seen, _ = session.judge.look(painted)
            shares.append(
                share(
                    [
                        what == subject and style in COLOURED
                        for what, style in zip(seen["subject"], seen["style"], strict=True)
                    ]
                )
            )
        session.row(subject, *shares)


def mended_table(session: Session, seeds: int, strength: float = 0.4) -> None:
    """A scratched or blurred picture becomes a cleaner one: distances to the undamaged drawing."""
    session.say(
        f"\nimg2img of damaged portraits, strength {strength:g}, {seeds} each\n\n"
        "| damage | PSNR of the damaged picture | after img2img | the undamaged one after img2img |\n|---|---|---|---|"
    )
    rng = random.Random(909)
    specs = [random_spec(rng, FIRST, style="flat", portrait=True) for _ in range(seeds)]
    clean = [draw(spec, session.size) for spec in specs]
    prompts = [
        f"{spec.person.who}, {spec.person.hair} hair, {spec.person.expression}, flat illustration"
        for spec in specs
        if spec.person
    ]

    def after(pictures: Sequence[Field]) -> float:
        painted = session.studio.paint(
            prompts, range(seeds), session.size, session.size, session.scale, session.steps, pictures, strength
        )
        return float(np.mean([psnr(a, b) for a, b in zip(clean, painted, strict=True)]))

    whole = after(clean)
    for damage in FIRST.damages:
        hurt = [draw(replace(spec, damage=damage), session.size) for spec in specs]
        before = float(np.mean([psnr(a, b) for a, b in zip(clean, hurt, strict=True)]))
        session.say(f"| {damage} | {before:.1f} dB | {after(hurt):.1f} dB | {whole:.1f} dB |")


def psnr(first: Field, second: Field) -> float:
    """Decibels, for values in [0, 1]."""
    return float(-10 * np.log10(max(1e-10, float(((first - second) ** 2).mean()))))


def unknown_table(session: Session, seeds: int) -> None:
    """Words outside the world: the pictures must be as contrasty, as smooth and as unlike each other as known ones."""
    session.say("\n| prompt | contrast | fine grain | saturated pixels | spread between seeds |\n|---|---|---|---|---|")
    for prompt in ("girl, city background", *UNKNOWN):
        painted = np.stack(session.paint(prompt, seeds, None, 1.0, session.scale))
        smooth = np.stack([cv2.GaussianBlur(picture, (0, 0), 1.5) for picture in painted])
        burnt = ((painted < 0.01) | (painted > 0.99)).mean()
        session.say(
            f"| {prompt} | {painted.std((1, 2)).mean():.3f} | {np.abs(painted - smooth).mean():.4f} | {burnt:.1%} "
            f"| {painted.std(0).mean():.3f} |"
        )


def judge(
    checkpoint: Path,
    size: int,
    seeds: int,
    scale: float,
    say: Callable[[str], None],
    steps: int = 25,
    eye: Path | None = None,
    parts: Sequence[str] = PARTS,
    device: str = "cpu",
) -> None:
    """Print the chosen tables for `checkpoint` in Markdown."""
    studio = Studio(checkpoint, device)
    trained = trained_judge(studio, size, eye)
    figures = ", ".join(f"{name} {value:.0%}" for name, value in trained.accuracy.items())
    say(f"The judge itself, on held-out renders after the autoencoder: {figures}.")
    session = Session(studio, trained, size, steps, scale, say)
    if "prompts" in parts:
        prompts_table(session, seeds)
    if "tutorial" in parts:
        for tutorial_scale in sorted({scale, 11.0}):
            tutorial_table(session, max(2, seeds // 2), tutorial_scale)
    if "strength" in parts:
        strength_table(session, max(2, seeds // 4), [i / 10 for i in range(1, 11)])
    if "guidance" in parts:
        guidance_table(session, max(2, seeds // 4))
    if "doodle" in parts:
        doodle_table(session, max(2, seeds // 4))
    if "mended" in parts:
        mended_table(session, max(2, seeds // 4))
    if "unknown" in parts:
        unknown_table(session, max(2, seeds // 4))
