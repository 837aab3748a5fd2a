"""Translates the parameters that other programs write to A1111's infotext.

This module reads the flat JSON of SwarmUI, Fooocus, NovelAI and Draw Things; sd-parsers reads the graphs of ComfyUI and
the three formats of InvokeAI. JSON of an unknown program gets a note and is never used as a prompt.
"""

import html
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sd_parsers.data import PromptInfo, Sampler
from sd_parsers.exceptions import ParserError
from sd_parsers.parsers import ComfyUIParser, InvokeAIParser

from modules.infotext.grammar import FEWEST_PAIRS, compose

MAX_JSON = 4_000_000  # characters; ComfyUI's largest workflows have about 500 000
MAX_NODES = 2_000  # of a graph
MAX_PASSES = 16  # of a graph to read
DREAM = re.compile(r'"[^"]*".*', re.DOTALL)
XMP_COMMENT = re.compile(r"<exif:UserComment>.{0,200}?<rdf:li[^>]{0,100}>([^<]*)</rdf:li>", re.DOTALL)

# The errors that sd-parsers raises on data that only looks like the program's.
UNREADABLE = (ParserError, LookupError, TypeError, ValueError, AttributeError, RecursionError)

# k-diffusion's and diffusers' names, as ComfyUI, SwarmUI, Fooocus, InvokeAI and NovelAI write them.
SAMPLERS = {
    "euler": "Euler", "euler_ancestral": "Euler a", "euler_a": "Euler a", "heun": "Heun", "lms": "LMS",
    "dpm_2": "DPM2", "kdpm_2": "DPM2", "dpm_2_ancestral": "DPM2 a", "kdpm_2_a": "DPM2 a", "dpm_fast": "DPM fast",
    "dpm_adaptive": "DPM adaptive", "dpmpp_2s_ancestral": "DPM++ 2S a", "dpmpp_sde": "DPM++ SDE",
    "dpmpp_2m": "DPM++ 2M", "dpmpp_2m_sde": "DPM++ 2M SDE", "dpmpp_2m_sde_heun": "DPM++ 2M SDE Heun",
    "dpmpp_3m_sde": "DPM++ 3M SDE", "ddim": "DDIM", "uni_pc": "UniPC", "unipc": "UniPC", "pndm": "PLMS", "lcm": "LCM",
    "restart": "Restart",
}  # fmt: skip
SCHEDULES = {
    "normal": "Normal", "karras": "Karras", "exponential": "Exponential", "sgm_uniform": "SGM Uniform",
    "simple": "Simple", "ddim_uniform": "DDIM", "beta": "Beta", "kl_optimal": "KL Optimal",
    "align_your_steps": "Align Your Steps",
}  # fmt: skip


class Translation(NamedTuple):
    """A text in A1111's layout ("" if nothing could be read) and a sentence that names the program."""

    text: str
    note: str


class _Parameters(NamedTuple):
    """The parameters a program wrote: two prompts, and pairs under A1111's keys; a missing value is None."""

    prompt: str
    negative_prompt: str
    pairs: dict[str, object]


def from_json(text: str) -> Translation | None:
    """The translation of a text that is a JSON object; None for any other text."""
    parsed = _parsed(text)
    if parsed is None:
        return None
    for program, read in READERS:
        parameters = read(parsed)
        if parameters is not None:
            return _translated(program, parameters)
    if _is_graph(parsed):
        return _from_graph(parsed)
    keys = ", ".join(str(key)[:40] for key in list(parsed)[:5])
    return Translation("", f"This is JSON from an unknown program (it begins with {keys}): nothing was read.")


def from_items(items: Mapping[str, str], width: int, height: int) -> Translation | None:
    """The translation of a picture's metadata other than `parameters`; the picture has `width` x `height` pixels.

    None if it is not from a known program.
    """
    if items.get("Software") == "NovelAI" or items.get("Source", "").startswith("NovelAI"):
        comment = _parsed(items.get("Comment", "")) or {}
        parameters = _novelai(
            {"width": width, "height": height, **comment, "Description": items.get("Description", "")}
        )
        return _translated("NovelAI", parameters) if parameters is not None else None
    if {"invokeai_metadata", "sd-metadata", "Dream"} & set(items):
        return _from_invokeai(items)
    for key in ("XML:com.adobe.xmp", "xmp"):
        found = XMP_COMMENT.search(items.get(key, "")[:MAX_JSON])
        if found:
            return from_json(html.unescape(found[1]))
    graph = _parsed(items.get("prompt", ""))
    if graph is not None and _is_graph(graph):
        return _from_graph(graph)
    if "workflow" in items and _parsed(items["workflow"]):
        return Translation("", "This picture is from ComfyUI but does not contain its graph: nothing was read.")
    return None


def _swarmui(data: Mapping[str, Any]) -> _Parameters | None:
    values = data.get("sui_image_params")
    if not isinstance(values, dict):
        return None
    is_varied = _number(values.get("variationseedstrength")) not in (None, "0", "0.0")
    return _Parameters(
        _text(values.get("prompt")),
        _text(values.get("negativeprompt")),
        {
            **_sampling(values.get("sampler"), values.get("scheduler")),
            "Steps": _number(values.get("steps")),
            "CFG scale": _number(values.get("cfgscale")),
            "Seed": _number(values.get("seed")),
            **_size(values.get("width"), values.get("height")),
            "Model": _stem(values.get("model")),
            "VAE": _stem(values.get("vae")),
            "Denoising strength": _number(values.get("initimagecreativity")),
            "Variation seed": _number(values.get("variationseed")) if is_varied else None,
            "Variation seed strength": _number(values.get("variationseedstrength")) if is_varied else None,
        },
    )


def _fooocus(data: Mapping[str, Any]) -> _Parameters | None:
    if data.get("metadata_scheme") != "fooocus" and not {"base_model", "sharpness", "prompt"} <= set(data):
        return None
    return _Parameters(
        _text(data.get("prompt")),
        _text(data.get("negative_prompt")),
        {
            **_sampling(data.get("sampler"), data.get("scheduler")),
            "Steps": _number(data.get("steps")),
            "CFG scale": _number(data.get("guidance_scale")),
            "Seed": _number(data.get("seed")),
            **_size(*_two_numbers(data.get("resolution"))),
            "Model hash": _text(data.get("base_model_hash")) or None,
            "Model": _stem(data.get("base_model")),
            "Clip skip": _number(data.get("clip_skip")),
        },
    )


def _novelai(data: Mapping[str, Any]) -> _Parameters | None:
    """NovelAI uses Clip skip 2 and ENSD 31337, according to A1111."""
    if "uc" not in data or "c" in data or not {"steps", "scale", "sampler"} & set(data):
        return None
    return _Parameters(
        _text(data.get("Description")) or _text(data.get("prompt")),
        _text(data.get("uc")),
        {
            **_sampling(data.get("sampler"), data.get("noise_schedule")),
            "Steps": _number(data.get("steps")),
            "CFG scale": _number(data.get("scale")),
            "Seed": _number(data.get("seed")),
            **_size(data.get("width"), data.get("height")),
            "Denoising strength": _number(data.get("strength")),
            "Clip skip": 2,
            "ENSD": 31337,
        },
    )


def _draw_things(data: Mapping[str, Any]) -> _Parameters | None:
    if not {"c", "sampler", "steps"} <= set(data):
        return None
    strength = _number(data.get("strength"))
    return _Parameters(
        _text(data.get("c")),
        _text(data.get("uc")),
        {
            **_sampling(data.get("sampler"), None),
            "Steps": _number(data.get("steps")),
            "CFG scale": _number(data.get("scale")),
            "Seed": _number(data.get("seed")),
            **_size(*_two_numbers(data.get("size"))),
            "Model": _stem(data.get("model")),
            "Denoising strength": None if strength in ("1", "1.0") else strength,  # Draw Things writes 1 for txt2img
        },
    )


READERS: tuple[tuple[str, Callable[[Mapping[str, Any]], _Parameters | None]], ...] = (
    ("SwarmUI", _swarmui),
    ("Fooocus", _fooocus),
    ("NovelAI", _novelai),
    ("Draw Things", _draw_things),
)


def _is_graph(data: Mapping[str, Any]) -> bool:
    """Whether `data` is a graph in ComfyUI's API format: nodes by id, each with its class."""
    return bool(data) and all(isinstance(node, dict) and "class_type" in node for node in data.values())


def _from_graph(graph: Mapping[str, Any]) -> Translation:
    """The parameters of the first pass of a ComfyUI graph that has prompts."""
    if len(graph) > MAX_NODES:
        return Translation("", f"ComfyUI's graph has {len(graph)} nodes, more than {MAX_NODES}: nothing was read.")
    # The type of a link is the name of the input it leads to; the reader needs nothing else from the workflow.
    links = [
        (0, str(source[0]), 0, node_id, 0, str(name).upper())
        for node_id, node in graph.items()
        for name, source in _inputs(node).items()
        if isinstance(source, list) and len(source) == 2
    ]
    try:
        read = ComfyUIParser().parse({"prompt": dict(graph), "workflow": {"links": links}})
    except UNREADABLE:
        read = None
    passes = [sampler for sampler in read.samplers[:MAX_PASSES] if sampler.prompts] if read is not None else []
    if not passes:
        return Translation("", "No sampler with a prompt was found in ComfyUI's graph: nothing was read.")
    parameters = _of_sampler(passes[0])
    latent = next((_inputs(node) for node in graph.values() if "EmptyLatent" in str(node["class_type"])), {})
    parameters.pairs.update(_size(latent.get("width"), latent.get("height")))
    which = f", the first of {len(passes)} passes" if len(passes) > 1 else ""
    return _translated(f"ComfyUI{which}", parameters)


def _inputs(node: Mapping[str, Any]) -> Mapping[str, Any]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _from_invokeai(items: Mapping[str, str]) -> Translation | None:
    if len(items.get("Dream", "")) > MAX_JSON or not DREAM.match(items.get("Dream", '""')):
        return None
    try:
        read: PromptInfo = InvokeAIParser().parse(dict(items))
    except UNREADABLE:
        return Translation("", "InvokeAI's parameters in this picture cannot be read: nothing was read.")
    if not read.samplers:
        return None
    parameters = _of_sampler(read.samplers[0])
    size = read.metadata
    parameters.pairs.update(_size(size.get("width"), size.get("height")))
    parameters.pairs["Denoising strength"] = _number(size.get("strength"))
    return _translated("InvokeAI", parameters)


def _of_sampler(sampler: Sampler) -> _Parameters:
    values = {str(key): value for key, value in sampler.parameters.items()}
    return _Parameters(
        "\n".join(_text(prompt.value) for prompt in sampler.prompts),
        "\n".join(_text(prompt.value) for prompt in sampler.negative_prompts),
        {
            **_sampling(sampler.name, values.get("scheduler")),
            "Steps": _number(values.get("steps")),
            "CFG scale": _number(values.get("cfg_scale")),
            "Seed": _number(values.get("seed", values.get("noise_seed"))),
            "Model": _stem(sampler.model.name) if sampler.model is not None else None,
            "Model hash": _text(sampler.model.hash) or None if sampler.model is not None else None,
            "Denoising strength": None if values.get("denoise") in (None, 1) else _number(values.get("denoise")),
        },
    )


def _translated(program: str, parameters: _Parameters) -> Translation:
    pairs = {key: value for key, value in parameters.pairs.items() if value is not None}
    if len(pairs) < FEWEST_PAIRS:
        return Translation("", f"The parameters from {program} contain almost no settings: nothing was read.")
    return Translation(
        compose(parameters.prompt, parameters.negative_prompt, pairs), f"Read from the parameters of {program}."
    )


def _parsed(text: str) -> dict[str, Any] | None:
    """The JSON object in `text`, or None. NaN and infinities become text."""
    if not text.lstrip().startswith("{") or len(text) > MAX_JSON:
        return None
    try:
        parsed = json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _sampling(sampler: object, schedule: object) -> dict[str, object]:
    name = re.sub(r"^k_|_gpu$", "", _text(sampler))
    if name.endswith("_k") and name[:-2] in SAMPLERS:  # InvokeAI's suffix for Karras
        name, schedule = name[:-2], schedule or "karras"
    known = SCHEDULES.get(_text(schedule), _text(schedule))
    return {"Sampler": SAMPLERS.get(name, name) or None, "Schedule type": known or None}


def _size(width: object, height: object) -> dict[str, object]:
    sides = _number(width) or "", _number(height) or ""
    return {"Size": "x".join(sides)} if all(side.isdecimal() for side in sides) else {}


def _two_numbers(text: object) -> tuple[str, str]:
    """The first two whole numbers in a text such as "(1152, 896)" or "512x512"; "" for a missing one."""
    first, second, *_ = (*re.findall(r"\d+", _text(text)), "", "")
    return first, second


def _number(value: object) -> str | None:
    """A number as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = str(value).strip()
    try:
        return text if math.isfinite(float(text)) else None
    except (ValueError, OverflowError):
        return None


def _text(value: object) -> str:
    return str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _stem(value: object) -> str | None:
    """A model's name without folders and suffix, as A1111 writes it."""
    if isinstance(value, dict):  # InvokeAI's model fields
        value = value.get("name") or value.get("model_name")
    name = re.split(r"[/\\]", _text(value))[-1]
    return re.sub(r"\.(safetensors|sft|ckpt|pt|gguf)$", "", name) or None
