"""Control units in the spellings that clients send."""

from typing import Any

import pytest

from modules.a1111.control import sent_units
from modules.a1111.loose import strict
from modules.base.errors import WebuiError
from modules.schema.control import BALANCED, CONTROL, CROP, FILL, PROMPT, STRETCH, ControlUnit

MODEL = "control_v11p_sd15_canny [d14c016b]"
SAME: dict[str, Any] = {
    # the units as eight clients and versions of the extension have sent them
    "an object": {"enabled": True, "module": "canny", "model": MODEL, "image": "PIC", "weight": 0.5},
    "a deprecated name": {"module": "canny", "model": MODEL, "input_image": "PIC", "weight": "0.5", "lowvram": False},
    "picture and mask": {"module": "canny", "model": MODEL, "image": {"image": "PIC", "mask": None}, "weight": 0.5},
    "a list of two": {"module": "canny", "model": MODEL, "image": ["PIC", None], "weight": 0.5},
    "a list of objects": {"module": "canny", "model": MODEL, "image": [{"image": "PIC"}], "weight": 0.5},
    "numbers for choices": {
        "module": "canny", "model": MODEL, "image": "PIC", "weight": 0.5, "resize_mode": 1, "control_mode": 0,
    },
    "old names of choices": {
        "module": "canny", "model": MODEL, "image": "PIC", "weight": 0.5, "resize_mode": "Scale to Fit (Inner Fit)",
        "guidance": 1.0, "guessmode": False, "processor_res": 0,
    },
    "defaults as -1": {
        "module": "canny", "model": MODEL, "image": "PIC", "weight": 0.5, "processor_res": -1, "threshold_a": -1,
        "threshold_b": -1, "save_detected_map": True, "hr_option": "Both", "input_mode": "simple", "is_ui": False,
    },
}  # fmt: skip


@pytest.mark.parametrize("spelling", SAME)
def test_every_spelling_is_the_same_unit(spelling: str) -> None:
    sent = sent_units([SAME[spelling]])
    assert ControlUnit(**sent.units[0]) == ControlUnit(image=0, module="canny", model=MODEL, weight=0.5)
    assert (sent.pictures, sent.notes) == (["PIC"], [])


def test_values_by_position_and_objects_may_follow_each_other() -> None:
    flat = [True, "canny", MODEL, 0.5, "PIC", "Crop and Resize", False, 512, 100, 200, 0.0, 1.0, False, "Balanced"]
    sent = sent_units([*flat, False, "depth", "x", *[None] * 11, {"model": "y", "image": "OTHER"}, None])
    first, second = (ControlUnit(**unit) for unit in sent.units)
    assert (first.module, first.weight, first.threshold_b, first.image) == ("canny", 0.5, 200, 0)
    assert (second.model, second.image, sent.pictures) == ("y", 1, ["PIC", "OTHER"])


@pytest.mark.parametrize(
    ("value", "resize_mode"), [(0, STRETCH), ("2", FILL), ("Resize and Fill", FILL), ("inner fit (scale to fit)", CROP)]
)
def test_resize_modes_by_number_and_name(value: Any, resize_mode: str) -> None:
    assert sent_units([{"resize_mode": value}]).units[0]["resize_mode"] == resize_mode


@pytest.mark.parametrize(
    ("unit", "mode"),
    [({"control_mode": 1}, PROMPT), ({"guessmode": True}, CONTROL), ({"control_mode": "balanced"}, BALANCED)],
)
def test_control_modes(unit: dict[str, Any], mode: str) -> None:
    assert sent_units([unit]).units[0]["control_mode"] == mode


@pytest.mark.parametrize("off", [{"enabled": False}, {"enabled": "False"}, {"enable": 0}])
def test_what_is_switched_off_is_not_read(off: dict[str, Any]) -> None:
    assert sent_units([{**off, "weight": "nonsense", "image": 5}]).units == []


def test_a_mask_is_noted() -> None:
    sent = sent_units([{"model": "x", "image": {"image": "PIC", "mask": "MASK"}}])
    assert sent.notes == ["controlnet: a unit's mask has no effect here."]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["canny"], "expected a unit as an object"),
        ([{"resize_mode": 9}], "resize_mode = '9': expected 0 or 'Just Resize'"),
        ([{"control_mode": "mine"}], "control_mode = 'mine': expected 0 or 'Balanced'"),
        ([{"weight": [1]}], "weight = '[1]': expected a number"),
        ([{}] * 11, "more than 10 units are switched on"),
    ],
)
def test_what_is_no_unit_is_refused_with_its_cure(arguments: list[Any], sentence: str) -> None:
    with pytest.raises(WebuiError, match="controlnet: ") as caught:
        sent_units(arguments)
    assert sentence in str(caught.value)
    assert caught.value.field == "controlnet"


@pytest.mark.parametrize("name", ["controlnet", "ControlNet", " CONTROLNET"])
@pytest.mark.parametrize("args", [{"model": "x", "image": "PIC"}, [{"model": "x", "image": "PIC"}]])
def test_a_request_names_them_among_the_scripts_that_are_always_on(name: str, args: Any) -> None:
    values, _ = strict("txt2img", {"prompt": "a cat", "alwayson_scripts": {name: {"args": args}}})
    assert values["controlnet"] == [{"model": "x", "pixel_perfect": False, "image": 0}]
    assert (values["control_images"], values["alwayson_scripts"]) == (["PIC"], {})
