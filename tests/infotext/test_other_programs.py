"""What other programs write about their pictures is read as settings, never as a prompt."""

import html
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from modules.base.picture import Picture
from modules.infotext.grammar import Infotext
from modules.infotext.other_programs import from_items, from_json
from modules.infotext.parse import parse
from modules.infotext.read import to_fields
from modules.store.metadata import read

SWARM = {
    "sui_image_params": {
        "prompt": "a shell, spiral: fine", "negativeprompt": "photo", "seed": 581626448, "steps": 25, "cfgscale": 4.0,
        "width": 1024, "height": 768, "model": "OfficialStableDiffusion/sd_xl_base.safetensors",
        "sampler": "dpmpp_2m", "scheduler": "karras", "swarm_version": "0.5.9.0",
    }
}  # fmt: skip
FOOOCUS = {
    "prompt": "a shell, spiral: fine", "negative_prompt": "photo", "base_model": "juggernaut", "seed": "581626448",
    "base_model_hash": "aeb7e9e689", "sampler": "dpmpp_2m_sde_gpu", "scheduler": "karras", "steps": 25, "clip_skip": 2,
    "guidance_scale": 4.0, "resolution": "(1024, 768)", "sharpness": 2.0, "metadata_scheme": "fooocus",
}  # fmt: skip
NOVELAI = {
    "prompt": "a shell, spiral: fine", "uc": "photo", "steps": 25, "sampler": "k_dpmpp_2s_ancestral", "scale": 4.0,
    "seed": 581626448, "width": 1024, "height": 768, "noise_schedule": "karras",
}  # fmt: skip
DRAW_THINGS = {
    "c": "a shell, spiral: fine", "uc": "photo", "model": "sd_v1.5_f16.ckpt", "sampler": "DPM++ 2M Karras",
    "scale": 4, "seed": 581626448, "size": "1024x768", "steps": 25, "strength": 0.6,
}  # fmt: skip
COMFY = {
    "3": {"class_type": "KSampler", "inputs": {
        "seed": 581626448, "steps": 25, "cfg": 4.0, "sampler_name": "euler_ancestral", "scheduler": "normal",
        "denoise": 1, "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sdxl\\base.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 1024, "height": 768, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a shell, spiral: fine", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "photo", "clip": ["4", 1]}},
}  # fmt: skip
INVOKE = {
    "positive_prompt": "a shell, spiral: fine", "negative_prompt": "photo", "seed": 581626448, "steps": 25,
    "cfg_scale": 4.0, "width": 1024, "height": 768, "scheduler": "dpmpp_2m_k", "app_version": "5.6.0",
    "model": {"model_name": "base"},
}  # fmt: skip
DREAM = '"a shell, spiral: fine [photo]" -s 25 -S 581626448 -W 1024 -H 768 -C 4.0 -A k_euler_a'

FIELDS = {
    "prompt": "a shell, spiral: fine", "negative_prompt": "photo", "seed": 581626448, "steps": 25, "cfg_scale": 4.0,
    "width": 1024, "height": 768,
}  # fmt: skip


@pytest.mark.parametrize(
    ("told", "program", "more"),
    [
        (SWARM, "SwarmUI", {"sampler_name": "DPM++ 2M", "scheduler": "Automatic"}),
        (FOOOCUS, "Fooocus", {"sampler_name": "DPM++ 2M SDE", "scheduler": "Karras"}),
        (NOVELAI, "NovelAI", {"sampler_name": "DPM++ 2S a", "scheduler": "Automatic"}),
        (DRAW_THINGS, "Draw Things", {"sampler_name": "DPM++ 2M", "denoising_strength": 0.6}),
        (COMFY, "ComfyUI", {"sampler_name": "Euler a", "scheduler": "Normal"}),
    ],
    ids=["SwarmUI", "Fooocus", "NovelAI", "Draw Things", "ComfyUI"],
)
def test_json_under_parameters_becomes_settings(told: dict[str, Any], program: str, more: dict[str, Any]) -> None:
    parsed = parse(json.dumps(told, indent=2))
    fields = to_fields(parsed).fields
    assert parsed.notes == (f"Read from the parameters of {program}.",)
    assert {name: fields[name] for name in (*FIELDS, *more)} == {**FIELDS, **more}


@pytest.mark.parametrize(
    ("items", "program", "sampler"),
    [
        ({"prompt": json.dumps(COMFY), "workflow": "{}"}, "ComfyUI", "Euler a"),
        ({"invokeai_metadata": json.dumps(INVOKE)}, "InvokeAI", "DPM++ 2M"),
        ({"Dream": DREAM}, "InvokeAI", "Euler a"),
        ({"Software": "NovelAI", "Description": NOVELAI["prompt"], "Comment": json.dumps(NOVELAI)}, "NovelAI",
         "DPM++ 2S a"),
        ({"XML:com.adobe.xmp": '<x:xmpmeta><exif:UserComment><rdf:Alt><rdf:li xml:lang="x-default">'
          f"{html.escape(json.dumps(DRAW_THINGS))}</rdf:li></rdf:Alt></exif:UserComment></x:xmpmeta>"},
         "Draw Things", "DPM++ 2M"),
    ],
    ids=["ComfyUI", "InvokeAI", "InvokeAI's first", "NovelAI", "Draw Things"],
)  # fmt: skip
def test_what_stands_beside_parameters_is_read(items: dict[str, str], program: str, sampler: str) -> None:
    chunks = PngInfo()
    for key, text in items.items():
        chunks.add_itxt(key, text)
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG", pnginfo=chunks)
    told = read(Picture.from_bytes(file.getvalue()))
    fields = to_fields(parse(told.infotext)).fields
    assert told.notes == (f"Read from the parameters of {program}.",)
    assert {name: fields[name] for name in (*FIELDS, "sampler_name")} == {**FIELDS, "sampler_name": sampler}


def test_json_under_parameters_is_shown_in_words_and_kept_as_it_stands() -> None:
    chunks = PngInfo()
    raw = json.dumps(SWARM, indent=2)
    chunks.add_text("parameters", raw)
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG", pnginfo=chunks)
    told = read(Picture.from_bytes(file.getvalue()))
    assert told.infotext.startswith("a shell, spiral: fine\nNegative prompt: photo\nSteps: 25, Sampler: DPM++ 2M,")
    assert (told.items, told.notes) == ({"parameters": raw}, ("Read from the parameters of SwarmUI.",))


def test_parameters_count_more_than_a_graph_beside_them() -> None:
    chunks = PngInfo()
    chunks.add_text("parameters", "a cat\nSteps: 3, Sampler: Euler, Seed: 1")
    chunks.add_text("prompt", json.dumps(COMFY))
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG", pnginfo=chunks)
    told = read(Picture.from_bytes(file.getvalue()))
    assert (parse(told.infotext).prompt, told.notes) == ("a cat", ())


def test_json_of_an_unknown_program_is_named_and_nothing_is_taken() -> None:
    parsed = parse('{"engine": "x", "caption": "a fox", "cycles": 3}')
    assert parsed == Infotext(
        notes=("This is JSON from an unknown program (it begins with engine, caption, cycles): nothing was read.",)
    )
    assert to_fields(parsed).fields == {}


@pytest.mark.parametrize("text", ["{red|blue} fox", "{", "[1, 2]", '"a"', "{a: fox}", "{" * 100_000, '{"a":' * 100_000])
def test_what_is_no_json_object_is_a_prompt(text: str) -> None:
    assert from_json(text) is None


def test_a_graph_without_a_prompt_is_told() -> None:
    told = from_json(json.dumps({"5": COMFY["5"]}))
    assert told is not None
    assert (told.text, "nothing was read" in told.note) == ("", True)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from([SWARM["sui_image_params"], FOOOCUS, NOVELAI, DRAW_THINGS, COMFY, COMFY["3"]["inputs"], INVOKE]),
    st.data(),
)
def test_any_value_in_any_place_raises_nothing(told: dict[str, Any], data: st.DataObject) -> None:
    told = dict(told)
    for key in data.draw(st.lists(st.sampled_from(sorted(told)), max_size=3)):
        told[key] = data.draw(json_values)
    if "seed" in told and "cfg" in told:
        told = {**COMFY, "3": {"class_type": "KSampler", "inputs": told}}
    text = json.dumps(told)
    for candidate in (from_json(text), from_json(json.dumps({"sui_image_params": told}))):
        assert candidate is None or isinstance(candidate.text, str)
    for items in ({"prompt": text}, {"invokeai_metadata": text}, {"sd-metadata": text}, {"Dream": text}):
        from_items(items, 64, 64)
