"""Cards: the files beside a model under all their names; a hostile file there costs only that card."""

import errno
import json
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from modules.base.errors import WebuiError
from modules.networks.files import own_notes
from modules.networks.files.base_models import family_of
from modules.networks.files.cards import Card, CardFiles, models_of
from modules.networks.files.notes import Notes, trained_tags
from modules.networks.files.own_notes import read_own, save_own
from modules.schema.catalog import Catalog, Checkpoint, Embedding, Lora, Vae

STYLE = ("style",)
CIVITAI = {
    "id": 7,
    "name": "v2",
    "baseModel": "Illustrious",
    "trainedWords": ["inkwash", " brush lines, ", ""],
    "description": "<p>What is new</p>",
    "model": {
        "name": "Ink Wash",
        "description": "<p>Soft <b>ink</b> &amp; water.</p><p>At 0.8</p>",
        "tags": ["style"],
    },
}
MATRIX = {
    "ModelName": "Ink Wash", "ModelDescription": "<p>Soft ink</p>", "TrainedWords": ["inkwash"], "BaseModel": "Pony",
    "Tags": ["style", "ink"],
}  # fmt: skip
MANAGER = {
    "model_name": "Ink Wash", "base_model": "SDXL 1.0", "usage_tips": '{"strength": 0.7}', "notes": "for skies",
    "civitai": {"trainedWords": ["inkwash"]},
}  # fmt: skip
OWN = {
    "description": "mine, at <lora:ink:0.7>", "activation text": "ink wash", "preferred weight": 0.65,
    "negative text": "photo", "sd version": "SDXL", "notes": "a\nb",
}  # fmt: skip


def safetensors(path: Path, metadata: Mapping[str, str] | None = None) -> Path:
    """A safetensors file with one empty tensor."""
    header: dict[str, Any] = {"x": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}
    data = json.dumps(header | ({"__metadata__": metadata} if metadata else {})).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(data)) + data)
    return path


def card_of(path: Path, root: Path, metadata: Mapping[str, Any] | None = None) -> Card:
    files = CardFiles({"loras": [root]})
    catalog = Catalog(loras=(Lora(path.stem, path, metadata=metadata or {}),))
    (card,) = files.cards(files.found(models_of(catalog)))
    return card


@pytest.fixture
def ink(tmp_path: Path) -> Path:
    return safetensors(tmp_path / "Lora" / "styles" / "ink.safetensors")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "ink.json",
            OWN,
            Notes("", "mine, at <lora:ink:0.7>", "ink wash", 0.65, "photo", "a\nb", "SDXL"),
        ),
        (
            "ink.civitai.info",
            CIVITAI,
            Notes("Ink Wash", "Soft ink & water.\n\nAt 0.8", "inkwash, brush lines", 0, "", "", "Illustrious", STYLE),
        ),
        (
            "ink.api_info.json",
            CIVITAI | {"model": {}},
            Notes("", "What is new", "inkwash, brush lines", base_model="Illustrious"),
        ),
        ("ink.cm-info.json", MATRIX, Notes("Ink Wash", "Soft ink", "inkwash", 0, "", "", "Pony", ("style", "ink"))),
        ("ink.metadata.json", MANAGER, Notes("Ink Wash", "", "inkwash", 0.7, "", "for skies", "SDXL 1.0")),
        ("INK.JSON", {"activation text": "shouted"}, Notes(activation_text="shouted")),
    ],
)  # fmt: skip
def test_each_program_s_notes_are_read(ink: Path, name: str, content: Any, expected: Notes) -> None:
    (ink.parent / name).write_text(json.dumps(content))
    card = card_of(ink, ink.parents[1])
    assert card.notes == expected
    assert (card.folder, card.problems, card.is_read) == ("styles", (), True)


def test_a_person_s_notes_come_first_and_others_fill_what_they_leave_open(ink: Path) -> None:
    (ink.parent / "ink.json").write_text(
        json.dumps({"activation text": "mine", "description": "", "sd version": "Unknown"})
    )
    (ink.parent / "ink.civitai.info").write_text(json.dumps(CIVITAI))
    (ink.parent / "ink.txt").write_text("a text")
    card = card_of(ink, ink.parents[1], {"modelspec.usage_hint": "at dusk"})
    assert card.notes == Notes(
        "Ink Wash", "Soft ink & water.\n\nAt 0.8", "mine", 0, "", "at dusk", "Illustrious", ("style",)
    )
    assert card.family == "SDXL"


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"modelspec.title": "Ink", "modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}, ("Ink", "SDXL")),
        ({"ss_base_model_version": "sd_v1", "ss_v2": "False"}, ("", "SD 1")),
        ({"ss_v2": "True"}, ("", "SD 2")),
        ({"modelspec.trigger_phrase": "x"}, ("", "")),
    ],
)
def test_a_file_tells_of_itself(ink: Path, metadata: dict[str, str], expected: tuple[str, str]) -> None:
    card = card_of(ink, ink.parents[1], metadata)
    assert (card.notes.title, card.family) == expected


@pytest.mark.parametrize(
    ("said", "family"),
    [
        ("SD 1.5 LCM", "SD 1"), ("SD1", "SD 1"), ("stable-diffusion-v1", "SD 1"), ("an SD 1 model", "SD 1"),
        ("SD 2.1 768", "SD 2"), ("stable-diffusion-v2-768-v", "SD 2"), ("sdxl_base_v1-0", "SDXL"), ("Pony", "SDXL"),
        ("NoobAI", "SDXL"), ("a Stable Diffusion XL model", "SDXL"), ("Pony V7", "AuraFlow"), ("SD 3.5 Large", "SD 3"),
        ("Flux.1 D", "Flux"), ("Flux.2 Klein", "Flux.2"), ("Qwen", "Qwen Image"), ("nobody's", ""), ("", ""),
    ],
)  # fmt: skip
def test_lines_of_models_are_known_by_what_they_are_called(said: str, family: str) -> None:
    assert family_of(said) == family


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "ink.json cannot be read: "),
        (b"[1]", "ink.json cannot be read: it holds no JSON object."),
        (b"[" * 100_000 + b"]" * 100_000, "ink.json cannot be read: it is nested more than 32 levels deep."),
        (b"\xff\xfe", "ink.json cannot be read: "),
        (b'{"a": ' + b" " * (5 << 20) + b"1}", "ink.json cannot be read: it is longer than 4096 kB."),
    ],
)
def test_a_file_that_cannot_be_read_costs_what_it_says_and_is_told(ink: Path, content: bytes, told: str) -> None:
    (ink.parent / "ink.json").write_bytes(content)
    (ink.parent / "ink.civitai.info").write_text(json.dumps(CIVITAI))
    card = card_of(ink, ink.parents[1])
    assert card.notes.activation_text == "inkwash, brush lines"
    assert len(card.problems) == 1
    assert card.problems[0].startswith(told)


def test_a_file_of_100_mb_is_not_read(ink: Path) -> None:
    with (ink.parent / "ink.json").open("wb") as file:
        file.truncate(100 << 20)  # sparse
    assert card_of(ink, ink.parents[1]).problems == ("ink.json cannot be read: it is longer than 4096 kB.",)


@pytest.mark.parametrize(
    "odd",
    [
        {"activation text": 7, "preferred weight": "0.8", "notes": None, "description": ["x"], "sd version": {}},
        {"preferred weight": 0.8, "activation text": ""},
    ],
)
def test_values_of_other_types_are_passed_over(ink: Path, odd: Any) -> None:
    (ink.parent / "ink.json").write_text(json.dumps(odd))
    assert card_of(ink, ink.parents[1]).notes == Notes(preferred_weight=0.8)


@pytest.mark.parametrize("weight", [True, "strong", 1e9, float("nan"), "nan", [1], 10**400])
def test_a_weight_that_is_none_is_none(ink: Path, weight: Any) -> None:
    (ink.parent / "ink.metadata.json").write_text(json.dumps({"usage_tips": json.dumps({"strength": weight})}))
    (ink.parent / "ink.civitai.info").write_text(json.dumps(CIVITAI))
    card = card_of(ink, ink.parents[1])
    assert (card.notes.preferred_weight, card.notes.title) == (0.0, "Ink Wash")


def test_many_trained_words_are_cut_and_texts_are_fit_to_be_sent(ink: Path) -> None:
    words = [f"costume {number} of a knight" for number in range(100)]
    text = json.dumps({"trainedWords": words, "model": {"name": "a\u202eb\ud800\x07c"}})
    (ink.parent / "ink.civitai.info").write_text(text)
    notes = card_of(ink, ink.parents[1]).notes
    assert notes.activation_text.startswith("costume 0 of a knight, costume 1 of a knight")
    assert len(notes.activation_text) <= 300
    assert notes.title == "ab?c"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["ink.png", "ink.preview.png"], "ink.preview.png"),
        (["ink.webp", "ink.jpg"], "ink.jpg"),
        (["ink.Preview.JPEG"], "ink.Preview.JPEG"),
        (["inky.png", "ink.preview.txt", "ink.svg"], None),
    ],
)
def test_a_picture_beside_a_model_is_found(ink: Path, names: list[str], expected: str | None) -> None:
    for name in names:
        (ink.parent / name).write_bytes(b"x")
    picture = card_of(ink, ink.parents[1]).picture
    assert (Path(picture.path).name if picture else None) == expected


@pytest.mark.skipif(os.name == "nt", reason="Windows asks for a right to make links")
def test_links_count_only_where_they_stay_among_the_models(ink: Path, tmp_path: Path) -> None:
    root = tmp_path / "Lora"
    for secret in ("secret.png", "secret.json"):
        (tmp_path / secret).write_text(json.dumps(OWN))
    (root / "kept.png").write_bytes(b"x")
    (ink.parent / "ink.png").symlink_to(tmp_path / "secret.png")
    (ink.parent / "ink.json").symlink_to(tmp_path / "secret.json")
    (ink.parent / "ink.jpg").symlink_to(root / "kept.png")
    card = card_of(ink, root)
    assert (card.picture and Path(card.picture.path).name, card.notes) == ("ink.jpg", Notes())

    linked = tmp_path / "Lora" / "linked.safetensors"
    store = safetensors(tmp_path / "store" / "linked.safetensors").parent
    (store / "linked.png").write_bytes(b"x")
    linked.symlink_to(store / "linked.safetensors")
    (root / "linked.png").symlink_to(store / "linked.png")
    picture = card_of(linked, root).picture
    assert picture is not None, "beside the model's own file"


def test_what_waits_when_it_is_opened_is_no_file(ink: Path) -> None:
    if hasattr(os, "mkfifo"):
        os.mkfifo(ink.parent / "ink.json")
        (ink.parent / "ink.png").mkdir()
        card = card_of(ink, ink.parents[1])
        assert (card.picture, card.notes, card.problems) == (None, Notes(), ())


def test_every_kind_has_cards(tmp_path: Path) -> None:
    """A folder saved by diffusers is one model, whose notes have its name."""
    big = safetensors(tmp_path / "big.v1.safetensors", {"modelspec.title": "Big", "modelspec.thumbnail": "data:,"})
    folder = tmp_path / "saved.v2"
    vae = safetensors(folder / "vae" / "diffusion_pytorch_model.safetensors")
    (folder / "vae" / "config.json").write_text("{}")
    (folder / "vae.json").write_text(json.dumps({"notes": "of the part"}))
    (tmp_path / "saved.v2.json").write_text(json.dumps({"notes": "of the folder"}))
    (tmp_path / "word.txt").write_text("of a word")
    word = safetensors(tmp_path / "word.safetensors")
    catalog = Catalog(
        (Checkpoint("big.v1.safetensors", big, what="a Stable Diffusion XL model"), Checkpoint("saved.v2", folder)),
        (),
        (Embedding("word", word, width=1024), Embedding("both", word, width=2048, widths=(768, 1280))),
        (Vae("vae", vae),),
    )
    files = CardFiles()
    cards = {card.name: card for card in files.cards(files.found(models_of(catalog)))}
    assert {name: (card.notes.title, card.notes.notes, card.notes.description) for name, card in cards.items()} == {
        "big.v1.safetensors": ("Big", "", ""),
        "saved.v2": ("", "of the folder", ""),
        "word": ("", "", "of a word"),
        "both": ("", "", "of a word"),
        "vae": ("", "of the part", ""),
    }
    assert [cards[name].family for name in ("big.v1.safetensors", "word", "both")] == ["SDXL", "SD 2", "SDXL"]
    assert cards["big.v1.safetensors"].has_own


def test_notes_are_read_once_and_again_when_they_change(ink: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = ink.parent / "ink.json"
    own.write_text(json.dumps({"notes": "one"}))
    files = CardFiles({"loras": [ink.parents[1]]})
    models = list(models_of(Catalog(loras=(Lora("ink", ink),))))
    read: list[Path] = []
    monkeypatch.setattr("modules.networks.files.cards.read_notes", lambda path, ending: read.append(path) or Notes())
    for _ in range(3):
        files.cards(files.found(models))
    assert read == [own]
    own.write_text(json.dumps({"notes": "another"}))
    files.cards(files.found(models))
    assert read == [own, own]
    own.unlink()
    (card,) = files.cards(files.found(models))
    assert (card.own, read) == (None, [own, own])
    ink.unlink()
    assert files.found(models) == []


def test_reading_may_be_spread_over_several_looks(tmp_path: Path) -> None:
    loras = tuple(Lora(name, safetensors(tmp_path / f"{name}.safetensors")) for name in "abc")
    files = CardFiles()
    found = files.found(models_of(Catalog(loras=loras)))
    over: Callable[[], bool] = lambda: True  # noqa: E731
    assert [[card.is_read for card in files.cards(found, over)] for _ in range(4)] == [
        [True, False, False], [True, True, False], [True, True, True], [True, True, True]
    ]  # fmt: skip


def test_tags_of_a_training_by_how_often_they_came() -> None:
    frequency = {"10_a": {"sky": 3, " sea ": 5, "x" * 99: 9, "bad": "7"}, "b": {"sky": 4}, "c": 5}
    assert trained_tags({"ss_tag_frequency": frequency}, 5) == ("sky", "sea")
    assert trained_tags({"ss_tag_frequency": "text"}, 5) == ()


def test_saving_keeps_what_others_wrote(tmp_path: Path) -> None:
    path = tmp_path / "ink.json"
    path.write_text('{"width": 512, "notes": "old", "mine": [1, {"é": 0.10}], "big": 123456789012345678901234567890}')
    save_own(path, {"notes": "ñew", "activation_text": "ink", "preferred_weight": 0.8})
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "width": 512, "notes": "ñew", "mine": [1, {"é": 0.1}], "big": 123456789012345678901234567890,
        "activation text": "ink", "preferred weight": 0.8,
    }  # fmt: skip
    assert list(tmp_path.iterdir()) == [path]
    save_own(tmp_path / "new.json", {"description": "half \ud800"})
    assert read_own(tmp_path / "new.json") == {"description": "half \ud800"}


@pytest.mark.parametrize("content", [b"{", b"[]", b"[" * 100_000, b"\xff"])
def test_a_file_that_cannot_be_read_is_not_written_over(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ink.json"
    path.write_bytes(content)
    with pytest.raises(WebuiError, match=r"ink\.json cannot be read, so nothing is written into it: "):
        save_own(path, {"notes": "x"})
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.EROFS, " is read-only."),
        (errno.EACCES, " is read-only."),
        (errno.ENOSPC, ": the disk is full."),
        (errno.EIO, ": Input/output error."),
    ],
)
def test_a_disk_that_refuses_is_told_in_one_sentence(
    tmp_path: Path, number: int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ink.json"
    path.write_text('{"notes": "old"}')

    def refuse(path: Path, data: bytes) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(own_notes, "write_over", refuse)
    with pytest.raises(WebuiError, match=r"^The notes cannot be saved") as caught:
        save_own(path, {"notes": "new"})
    assert caught.value.message.endswith(sentence)
    assert read_own(path) == {"notes": "old"}
