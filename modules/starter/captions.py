"""Captions of drawn pictures: shuffled tags or a sentence, with synonyms, left-out tags and words nobody knows."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from modules.starter.spec import COLOURLESS, Person, Spec

# Stands for words outside the world: the tokenizer of the training turns it into a few neutral tokens.
UNKNOWN: Final = "<unknown>"

Words: TypeAlias = Mapping[str, Sequence[str]]

# The first word of a row is the usual one and is drawn half of the time.
STYLES: Final[Words] = {
    "flat": ("flat illustration", "illustration", "flat color", "vector art"),
    "outlined": ("anime", "cartoon", "anime illustration", "flat illustration", "comic"),
    "watercolor": ("watercolor", "watercolor painting", "watercolour", "aquarelle"),
    "pencil": ("pencil sketch", "sketch", "pencil drawing", "pencil"),
    "line": ("line drawing", "doodle", "lineart", "line art"),
    "pixel": ("pixel art", "8-bit", "pixel style"),
    "oil": ("oil painting", "oil on canvas", "oil paint"),
    "crayon": ("crayon drawing", "crayon", "child's drawing"),
    "neon": ("neon", "neon lights", "neon glow"),
}
BACKGROUNDS: Final[Words] = {
    "city": ("city background", "city buildings", "city", "cityscape", "buildings"),
    "sakura": ("sakura background", "sakura", "cherry blossoms", "cherry blossom background", "pink blossoms"),
    "forest": ("forest background", "forest", "trees", "woods"),
    "beach": ("beach background", "beach", "sea", "seaside"),
    "night": ("night sky", "night", "starry sky", "stars, moon"),
    "sunset": ("sunset background", "sunset", "evening sky"),
    "mountains": ("mountain background", "mountains", "snowy mountains"),
    "room": ("indoors", "room", "bedroom"),
    "field": ("meadow", "flower field", "grass, blue sky", "park"),
    "sea": ("sea", "ocean", "on the sea"),
    "sea at sunset": ("sunset, sea", "ocean at sunset"),
    "underwater": ("underwater", "aquarium"),
}
EXPRESSIONS: Final[Words] = {
    "neutral": ("neutral expression", "serious", "expressionless"),
    "light smile": ("light smile", "smile", "smiling", "gentle smile"),
    "big smile": ("big smile", "laughing", "happy", "grin"),
    "sad": ("sad", "sad face", "frown", "unhappy"),
    "surprised": ("surprised", "open mouth"),
    "angry": ("angry", "angry face"),
}
WHO: Final[Words] = {
    "girl": ("girl", "1girl", "a girl", "portrait of a girl"),
    "woman": ("woman", "a woman", "portrait of a woman"),
    "boy": ("boy", "1boy", "a boy", "portrait of a boy"),
    "man": ("man", "a man", "portrait of a man"),
}
DAMAGES: Final[Words] = {
    "scratches": ("scratches", "old photo", "damaged"),
    "blur": ("blurry", "out of focus"),
    "low resolution": ("lowres", "low quality", "jpeg artifacts", "worst quality"),
    "noise": ("noise", "grainy"),
    "grey": ("black and white", "monochrome", "greyscale"),
}
SUBJECTS: Final[Words] = {
    "house": ("house", "a house", "home"),
    "tree": ("tree", "a tree"),
    "cat": ("cat", "a cat", "kitten"),
    "dog": ("dog", "a dog"),
    "sailboat": ("sailboat", "boat", "a boat"),
    "car": ("car", "a car"),
    "castle": ("castle", "a castle"),
    "flowers": ("flowers", "flowers in a vase"),
    "fish": ("fish", "a fish"),
    "sun": ("sun", "the sun"),
    "mountains": ("landscape", "scenery"),
    "scenery": ("scenery", "landscape", "no humans, scenery"),
}
HAIR_COLOURS: Final[Words] = {
    "blonde": ("blonde", "blond", "yellow"),
    "white": ("white", "silver"),
    "grey": ("gray", "grey"),
}
HAIR_STYLES: Final[Words] = {"twin tails": ("twintails",), "bob cut": ("bob cut",)}
QUALITY: Final = ("masterpiece", "best quality", "high quality", "detailed", "beautiful", "highres")
LEADS: Final = ("{style} of {who}", "a {style} of {who}", "{style} portrait of {who}")
# Words of questions people ask that name nothing the world can show; trained as ordinary, harmless words.
FILLERS: Final = (
    "a an of the with in on at and wearing front background behind her his hair eyes "
    "photo picture painting drawing art , ."
)


def synonym(words: Words, key: str, rng: random.Random) -> str:
    row = words.get(key, (key,))
    return row[0] if rng.random() < 0.5 else rng.choice(row)


def with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def style_words(spec: Spec, rng: random.Random) -> str:
    return synonym(STYLES, "outlined" if spec.style == "flat" and spec.outlined else spec.style, rng)


def background_words(spec: Spec, rng: random.Random) -> str:
    if spec.background != "plain":
        return synonym(BACKGROUNDS, spec.background, rng)
    if spec.style in COLOURLESS:
        return rng.choice(("simple background", "white background"))
    return rng.choice(("simple background", f"{spec.plain_colour} background", f"{spec.plain_colour} background"))


def hair_words(person: Person, coloured: bool, rng: random.Random) -> str:
    """`long pink hair`, `pink hair`, `pink hair, long hair`, `pink twintails`."""
    colour = synonym(HAIR_COLOURS, person.hair, rng) if coloured else ""
    style = synonym(HAIR_STYLES, person.hair_style, rng)
    if not colour:
        return style
    form = rng.random()
    if form < 0.55:
        return f"{colour} hair"
    if form < 0.75:
        return f"{colour} hair, {style}"
    return f"{style.removesuffix('hair').strip()} {colour} hair" if style.endswith("hair") else f"{colour} {style}"


def person_tags(spec: Spec, person: Person, keep: float, rng: random.Random) -> Iterator[str]:
    """The tags of a portrait; each is left out with a probability of its own that `keep` scales."""

    def kept(probability: float) -> bool:
        return rng.random() < probability * keep

    coloured = spec.style not in COLOURLESS and spec.damage != "grey" and spec.style != "neon"
    if kept(0.85):
        yield synonym(WHO, person.who, rng)
    if kept(0.88):
        yield hair_words(person, coloured, rng)
    if kept(0.92):
        yield synonym(EXPRESSIONS, person.expression, rng)
    if kept(0.4):
        yield f"{person.clothes_colour} {person.clothes}" if coloured else person.clothes
    if coloured and person.glasses != "sunglasses" and kept(0.3):
        yield f"{person.eyes} eyes"
    if person.skin in ("brown", "dark") and kept(0.7):
        yield f"{person.skin} skin"
    if person.glasses and kept(0.9):
        yield person.glasses
    if person.hat and kept(0.9):
        yield person.hat
    if person.beard and kept(0.9):
        yield "beard"
    if person.eyes_closed and kept(0.9):
        yield "closed eyes"
    if kept(0.12):
        yield rng.choice(("portrait", "solo", "looking at viewer", "upper body"))


def sentence(spec: Spec, rng: random.Random) -> str:
    style, behind = style_words(spec, rng), background_words(spec, rng)
    lead = rng.choice(LEADS)
    person = spec.person
    if person is None:
        subject = synonym(SUBJECTS, spec.subject, rng)
        return f"{LEADS[0].format(style=style, who=subject)}, {behind}"
    text = lead.format(style=style, who=f"a {person.who}")
    coloured = spec.style not in COLOURLESS and spec.style != "neon"
    if coloured and rng.random() < 0.8:
        text += f" with {synonym(HAIR_COLOURS, person.hair, rng)} hair"
    if rng.random() < 0.35:
        text += f" wearing a {person.clothes_colour} {person.clothes}" if coloured else f" wearing a {person.clothes}"
    if rng.random() < 0.85:
        text += f", {synonym(EXPRESSIONS, person.expression, rng)}"
    joint = ", " if "background" in behind or rng.random() < 0.4 else " in front of "
    return text + (f"{joint}{behind}" if rng.random() < 0.9 else "")


def caption(spec: Spec, rng: random.Random, dropout: bool = True, sentences: float = 0.15, unknown: float = 0.1) -> str:
    """A caption of `spec`, another one at each call.

    `dropout` leaves tags out; without it every tag of the picture is named. `sentences` and `unknown` are the shares
    of sentences and of captions that carry `UNKNOWN` somewhere between the tags.
    """
    if rng.random() < sentences and not spec.damage:
        return sentence(spec, rng)
    keep = 1.0 if dropout else 1e9
    tags: list[str] = []
    if spec.person is not None:
        tags += person_tags(spec, spec.person, keep, rng)
    else:
        noun = synonym(SUBJECTS, spec.subject, rng)
        named = spec.subject in ("cat", "dog", "car", "fish") and spec.style not in COLOURLESS and noun == spec.subject
        tags.append(f"{spec.subject_colour} {noun}" if named and rng.random() < 0.7 else noun)
    if rng.random() < (0.7 if spec.style == "flat" else 0.92) * keep:
        tags.append(style_words(spec, rng))
    if rng.random() < 0.9 * keep:
        tags.append(background_words(spec, rng))
    if spec.damage:
        tags.append(synonym(DAMAGES, spec.damage, rng))
    elif rng.random() < 0.12:
        tags.append(rng.choice(QUALITY))
    rng.shuffle(tags)
    if rng.random() < unknown:
        tags.insert(rng.randrange(len(tags) + 1), UNKNOWN)
    return ", ".join(tags)


def phrases() -> list[str]:
    """Every phrase a caption can be made of, for the vocabulary; the order never changes."""
    tables = (STYLES, BACKGROUNDS, EXPRESSIONS, WHO, DAMAGES, SUBJECTS, HAIR_COLOURS, HAIR_STYLES)
    words = [word for table in tables for row in table.values() for word in row]
    words += [
        "red blue green yellow white black pink purple orange grey gray brown blonde dark tan skin",
        "long short curly hair ponytail bun t-shirt sweater dress hoodie shirt suit",
        "glasses sunglasses straw hat beanie cap witch hat hair ribbon flower in hair cat ears headphones crown beard",
        "closed eyes portrait solo looking at viewer upper body simple background",
    ]
    return [*words, *QUALITY, FILLERS]
