"""The infotext layout against A1111's recorded texts, and its conversion to and from request fields."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from modules.base.fields import params
from modules.base.picture import Picture
from modules.infotext.grammar import SIZE, Infotext, compose
from modules.infotext.parse import implied, parse
from modules.infotext.read import to_fields
from modules.infotext.write import declared_pairs
from modules.schema.catalog import Catalog, Checkpoint, Vae
from modules.schema.request import Img2ImgRequest, Txt2ImgRequest
from modules.schema.resize_modes import RESIZE_LABELS
from modules.schema.sampler_names import resolve_names
from modules.schema.settings import EXACT, Settings
from modules.schema.upscalers import UPSCALERS, Upscaler

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "parity" / "data" / "infotexts.json").read_text(encoding="utf-8")
)
KEYS = [param.control.infotext for model in (Img2ImgRequest, Settings) for param in params(model).values()]
TEXT = """a cat, on a roof
with [snow:0.5]
Negative prompt: blurry
and flat
Steps: 30, Sampler: Euler a, Schedule type: Karras, CFG scale: 6.5, Seed: 12, Size: 512x768, Version: v1.10.0"""


@pytest.mark.parity
@pytest.mark.parametrize("text", RECORDED["composed"])
def test_a_recorded_text_comes_back_from_its_parts(text: str) -> None:
    parsed = parse(text)
    # One recorded prompt ends in a space before its line break; spaces at the ends of a line are lost, in A1111 as
    # well.
    assert compose(parsed.prompt, parsed.negative_prompt, parsed.pairs) == text.replace("fox \n", "fox\n")


@pytest.mark.parity
@pytest.mark.parametrize(("text", "expected"), RECORDED["parsed"])
def test_parts_are_those_a1111_finds(text: str, expected: dict[str, Any]) -> None:
    parsed = parse(text)
    found = {"Prompt": parsed.prompt, "Negative prompt": parsed.negative_prompt, **parsed.pairs, **implied(parsed)}
    assert found == {key: str(expected[key]) for key in found}
    # What A1111 adds to the text are its defaults for absent keys, never a value from the text.
    assert not [key for key in expected.keys() - found.keys() if f"{key.removesuffix('-1')}: " in text]


def test_prompt_and_negative_prompt_may_have_several_lines() -> None:
    assert parse(TEXT.replace("\n", "\r\n")) == Infotext(
        "a cat, on a roof\nwith [snow:0.5]",
        "blurry\nand flat",
        {
            "Steps": "30", "Sampler": "Euler a", "Schedule type": "Karras", "CFG scale": "6.5", "Seed": "12",
            "Size-1": "512", "Size-2": "768", "Version": "v1.10.0",
        },
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "pairs"),
    [
        ("Steps: 1, Seed: 2", {}),  # fewer than three are words of the prompt
        ("Steps: 1, Seed: 2, Size: 3x4", {"Steps": "1", "Seed": "2", "Size-1": "3", "Size-2": "4"}),
        ("Steps: 1, Seed: 2, Hires prompt: \"a, b: c\\nd\"", {"Steps": "1", "Seed": "2", "Hires prompt": "a, b: c\nd"}),
        ("Steps: 1, Seed: 2, Broken: \"a, Last: b", {"Steps": "1", "Seed": "2", "Broken": '"a', "Last": "b"}),
        ("Steps: 1, Tiling, Seed: 2, Model: tiny", {"Steps": "1", "Tiling": "Tiling", "Seed": "2", "Model": "tiny"}),
        ("Steps: 1, Seed: 2, Model: tiny, Tiling", {"Steps": "1", "Seed": "2", "Model": "tiny", "Tiling": "Tiling"}),
        ("Steps: 1, Seed: , Model: tiny, Eta: 0", {"Steps": "1", "Model": "tiny", "Eta": "0"}),  # empty means absent
        ("Steps: 1, Steps: 2, Eta: 0", {"Steps": "2", "Eta": "0"}),
        ("Lora hashes: \"a: 1, b: 2\", Steps: 1, Seed: 2", {"Lora hashes": "a: 1, b: 2", "Steps": "1", "Seed": "2"}),
    ],
)  # fmt: skip
def test_pairs_of_the_last_line(line: str, pairs: dict[str, str]) -> None:
    assert parse(f"a cat\n{line}").pairs == pairs


@pytest.mark.parametrize(
    "prompt",
    [
        "(red hair:1.2), (blue eyes:0.8), (green coat:1.1), smile",
        "a cat\n(Size:1.2), (Steps:2), (Seed:3)",
        "subject: a fox, place: a wood, light: dusk",
        "size: small, model: standing, version: young",
        "http://a, http://b, http://c",
        "[Steps:Seed:0.5], [Model:Version:0.2], {Size:2}",
        "Steps: wooden, Seed: of a plum, Size: large",
    ],
)
def test_a_prompt_with_colons_stays_a_prompt(prompt: str) -> None:
    assert parse(prompt) == Infotext(prompt)
    settings = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1"
    assert parse(f"{prompt}\n{settings}").prompt == prompt
    assert parse(f"a\nNegative prompt: {prompt}\n{settings}").negative_prompt == prompt


@pytest.mark.parametrize(
    "line", ["steps: 20, sampler: Euler a, cfg scale: 7, seed: 3", "Steps: 20, CFG Scale: 7, seed: 3, Sampler: Euler a"]
)
def test_settings_in_other_letters_are_settings(line: str) -> None:
    assert parse(f"a fox\n{line}").pairs == {"Steps": "20", "Sampler": "Euler a", "CFG scale": "7", "Seed": "3"}


def test_lines_behind_the_settings_are_no_part_of_the_prompt() -> None:
    text = (
        "epic drawing\nNegative prompt: text\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1661\n"
        "Template: epic {drawing|photo}\nof a fox\nNegative Template: text, b&w"
    )
    parsed = parse(text)
    assert (parsed.prompt, parsed.negative_prompt) == ("epic drawing", "text")
    assert parsed.pairs["Template"] == "epic {drawing|photo}\nof a fox"
    assert parsed.pairs["Negative Template"] == "text, b&w"
    assert (to_fields(parsed).notes, to_fields(parsed).fields["seed"]) == ((), 1661)


def test_other_lines_behind_the_settings_are_told() -> None:
    read = to_fields(parse("a fox\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5\nmade with love\nin spring"))
    assert (read.fields["prompt"], read.fields["seed"]) == ("a fox", 5)
    assert read.notes == ("Ignored text after the settings: 'made with love in spring'.",)


def test_keys_come_in_a1111s_order_and_the_version_last() -> None:
    pairs = {
        "Version": "v1", "Mask blur": 4, "RNG": "CPU", "Size-2": 768, "Size-1": 512, "Denoising strength": 0.6,
        "Seed": 1, "Eta": 0.5, "Tiling": True, "Model": "m", "Sampler": "Euler", "Steps": 20, "Init image hash": None,
        "Face restoration": "Face restoration", "X Values": "4,6",
    }  # fmt: skip
    assert compose("a cat", "", pairs) == (
        "a cat\nSteps: 20, Sampler: Euler, Seed: 1, Face restoration, Size: 512x768, Model: m, "
        'Denoising strength: 0.6, RNG: CPU, Tiling: True, Mask blur: 4, Eta: 0.5, X Values: "4,6", Version: v1'
    )


lines = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=30).map(str.strip)
prompts = lines.filter(lambda text: not text.startswith("Negative prompt:"))
values = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30).filter(
    lambda text: not SIZE.fullmatch(text)
)


@given(prompts, lines, st.dictionaries(st.sampled_from(["Model", "VAE", "Hires prompt", "Script", "X Values"]), values))
def test_any_value_survives_the_way_through_a_text(prompt: str, negative: str, others: dict[str, str]) -> None:
    parts = Infotext(prompt, negative, {"Steps": "20", "Sampler": "Euler", "Seed": "1", **others})
    parsed = parse(compose(parts.prompt, parts.negative_prompt, parts.pairs))
    assert parsed == parts


@pytest.mark.parametrize(
    "text", ["a" * 300_000, " " * 300_000, "ab: " * 75_000, 'ab: "' * 60_000, "a-" * 100_000 + ":"]
)
def test_hostile_text_does_not_hang(text: str) -> None:
    assert to_fields(parse(text)).settings == {}  # immediately; a pattern that backtracks would take an hour


def test_grays_as_strengths_and_soft_inpainting_exclude_each_other() -> None:
    picture = Picture.from_image(Image.new("RGB", (64, 64)))
    request = Img2ImgRequest(init_images=(picture,), mask=picture, soft_inpainting=True, mask_strength_by_grey=True)
    back = to_fields(parse(compose("", "", declared_pairs(request, Settings()))))
    assert (back.fields["mask_strength_by_grey"], back.fields["soft_inpainting"]) == (True, False)


def test_every_declared_key_comes_back_as_the_field_it_was() -> None:
    """No mapping is written twice: a field that is declared with a key passes through the text by itself."""
    picture = Picture.from_image(Image.new("RGB", (64, 64)))
    request = Img2ImgRequest(
        prompt="a cat", negative_prompt="a dog", sampler_name="Euler a", scheduler="Karras", steps=31, cfg_scale=6.5,
        width=640, height=576, seed=77, subseed=5, subseed_strength=0.25, seed_resize_from_w=512,
        seed_resize_from_h=448, denoising_strength=0.55, resize_mode=2, resize_by=1.25, init_images=(picture,),
        mask=picture, mask_blur_x=3, mask_blur_y=0, inpainting_mask_invert=1, inpainting_fill=2, inpaint_full_res=1,
        inpaint_full_res_padding=8, soft_inpainting=True, mask_blend_power=2, mask_blend_scale=0.75,
        inpaint_detail_preservation=4.5, composite_mask_influence=0.25, composite_difference_threshold=1,
        composite_difference_contrast=3, inpaint_color_match=0.5, image_cfg_scale=1.75, keep_unchanged=True,
        change_sensitivity=0.75, change_grow=-3, change_feather=9, outpaint_left=8, outpaint_right=16,
        outpaint_top=24, outpaint_bottom=32, outpaint_fill=2, outpaint_feather=7,
    )  # fmt: skip
    settings = Settings(
        CLIP_stop_at_last_layers=2, emphasis="No norm", randn_source="NV", initial_noise_multiplier=1.1,
        upscaler_for_img2img="Nearest",
        img2img_fix_steps=True, inpainting_mask_weight=0.5, img2img_color_correction=True,
        overlay_inpaint=False, eta_ancestral=0.5, eta_ddim=0.3, comma_padding_backtrack=3,
        enable_prompt_comments=False, tiling=True, pad_cond_uncond=True, pad_cond_uncond_v0=True, s_min_uncond=2.5,
        s_min_uncond_all=True, skip_early_cond=0.25, img2img_extra_noise=0.1, img2img_background_color="#102030",
        s_churn=4.0, s_tmin=0.5, s_tmax=9.0, s_noise=1.01, sigma_min=0.1, sigma_max=9.0, rho=5.0,
        eta_noise_seed_delta=31337, always_discard_next_to_last_sigma=True, sgm_noise_multiplier=True,
        uni_pc_variant="bh2", uni_pc_skip_type="logSNR", uni_pc_order=2, uni_pc_lower_order_final=False,
        sd_noise_schedule="Zero Terminal SNR", beta_dist_alpha=0.5, beta_dist_beta=0.7,
        use_old_emphasis_implementation=True, use_old_karras_scheduler_sigmas=True,
        no_dpmpp_sde_batch_determinism=True, use_old_scheduling=True, use_downcasted_alpha_bar=True,
        use_old_hires_fix_width_height=True, refiner_switch_by_sample_steps=True,
        hires_fix_refiner_pass="both passes", token_merging_ratio=0.3, token_merging_ratio_hr=0.4,
        fp8_storage="Enable", sdxl_crop_top=12, sdxl_crop_left=7, sdxl_clip_l_skip=True,
        sdxl_refiner_low_aesthetic_score=2.0, sdxl_refiner_high_aesthetic_score=7.5,
    )  # fmt: skip
    text = compose(request.prompt, request.negative_prompt, declared_pairs(request, settings))
    back = to_fields(parse(text), settings=Settings(compatibility=EXACT))
    assert (back.kind, back.notes, back.ignored) == ("img2img", (), {})
    assert back.fields == {name: getattr(request, name) for name in back.fields}
    assert back.settings == {name: getattr(settings, name) for name in back.settings}
    with_keys = {name for name, param in params(Img2ImgRequest).items() if param.control.infotext}
    assert back.fields.keys() == (with_keys | {"prompt"}) - {"mask_blur"}  # it is under x and y
    assert back.settings.keys() == {name for name, param in params(Settings).items() if param.control.infotext}


def test_a_size_beyond_all_bounds_sets_no_size() -> None:
    text = "a\nSteps: 20, Sampler: Euler, Size: 99999999x99999999, Hires upscale: 99, Hires upscaler: Latent"
    back = to_fields(parse(text), "txt2img")
    assert not back.fields.keys() & {"width", "height", "hr_scale"}
    assert back.refused.keys() == {"width", "height", "hr_scale"}
    assert set(back.refused.values()) <= set(back.notes)


def test_a_ratio_of_img2img_alone_does_not_hide_the_one_of_a_text() -> None:
    text = "a cat\nSteps: 20, Sampler: Euler, Denoising strength: 0.5, Token merging ratio: 0.5, Version: v1.10.0"
    current = Settings(token_merging_ratio=0.5, token_merging_ratio_img2img=0.2)
    assert to_fields(parse(text), settings=current).settings["token_merging_ratio_img2img"] == 0
    assert to_fields(parse(text), settings=Settings()).settings["token_merging_ratio"] == 0.5


@pytest.mark.parity
@pytest.mark.parametrize("case", RECORDED["written"])
def test_our_texts_are_a1111s_word_for_word(case: dict[str, Any]) -> None:
    """Except for the keys that A1111 omits. The default of its RNG source was GPU."""
    model = Img2ImgRequest if case["kind"] == "img2img" else Txt2ImgRequest
    request = model.model_validate(case["request"])
    sampler, schedule = resolve_names(request.sampler_name, request.scheduler)
    request = request.model_copy(update={"sampler_name": sampler.name, "scheduler": schedule.name})
    settings = Settings(randn_source="GPU", compatibility=EXACT).overridden(case["settings"])
    pairs = declared_pairs(request, settings)
    facts = {"Model hash": "58564d6acf", "Model": "tiny", "Version": "v1.10.0"}
    assert compose(request.prompt, request.negative_prompt, pairs | facts) == case["infotext"]


def test_only_what_matters_is_written() -> None:
    assert declared_pairs(Txt2ImgRequest(seed=3, subseed=4), Settings()) == {
        "Sampler": "DPM++ 2M", "Schedule type": "Karras", "Steps": "20", "CFG scale": "7.0", "Size-1": "512",
        "Size-2": "512", "Seed": "3", "RNG": "CPU", "Compatibility": "Palimpsest",
    }  # fmt: skip
    assert declared_pairs(Img2ImgRequest(resize_mode=1), Settings(randn_source="GPU")).items() >= {
        "Resize mode": RESIZE_LABELS[1], "Denoising strength": "0.75"
    }.items()  # fmt: skip
    assert "RNG" not in declared_pairs(Txt2ImgRequest(), Settings(randn_source="GPU"))


def test_a_missing_key_means_what_it_meant_to_its_writer() -> None:
    back = to_fields(parse(TEXT), settings=Settings(CLIP_stop_at_last_layers=2, randn_source="NV"))
    assert back.fields == {
        "prompt": "a cat, on a roof\nwith [snow:0.5]", "negative_prompt": "blurry\nand flat", "steps": 30,
        "sampler_name": "Euler a", "scheduler": "Karras", "cfg_scale": 6.5, "seed": 12, "width": 512, "height": 768,
        "subseed": -1, "subseed_strength": 0.0, "seed_resize_from_w": 0, "seed_resize_from_h": 0, "enable_hr": False,
        "hr_sampler_name": "", "hr_prompt": "", "hr_negative_prompt": "", "hr_scheduler": "", "hr_resize_x": 0,
        "hr_resize_y": 0, "hr_second_pass_steps": 0, "refiner_checkpoint": "", "refiner_switch_at": None,
        "hr_checkpoint_name": "",
    }  # fmt: skip
    assert back.settings == {"CLIP_stop_at_last_layers": 1, "randn_source": "GPU", "compatibility": EXACT}


@pytest.mark.parametrize(("prompt", "fields"), [
    ("", {}), ("a cat", {"prompt": "a cat"}), ("Negative prompt: dark", {"negative_prompt": "dark"}),
])  # fmt: skip
def test_a_text_without_pairs_is_a_prompt_and_nothing_else(prompt: str, fields: dict[str, str]) -> None:
    back = to_fields(parse(prompt), settings=Settings(randn_source="NV"))
    assert (back.fields, back.settings, back.notes) == (fields, {}, ())


@pytest.mark.parametrize(
    ("sampler", "schedule", "fields"),
    [
        ("DPM++ 2M SDE Karras", "", ("DPM++ 2M SDE", "Karras")),
        ("Euler a", "SGM Uniform", ("Euler a", "SGM Uniform")),
        ("k_euler_a", "", ("Euler a", "Automatic")),
        ("EULER", "karras", ("Euler", "Karras")),
        ("DPM++ 2M", "Karras", ("DPM++ 2M", "Automatic")),  # its own schedule
        ("DPM++ 2M Karras", "", ("DPM++ 2M", "Automatic")),
        ("DPM++ 2M", "Exponential", ("DPM++ 2M", "Exponential")),
    ],
)
def test_sampler_names_of_all_ages_are_understood(sampler: str, schedule: str, fields: tuple[str, str]) -> None:
    more = f", Schedule type: {schedule}" if schedule else ""
    back = to_fields(parse(f"a\nSteps: 5, Seed: 1, Sampler: {sampler}{more}"))
    assert (back.fields["sampler_name"], back.fields["scheduler"], back.notes) == (*fields, ())


@pytest.mark.parametrize(
    ("sampler", "scheduler"),
    [("DPM++ 2M", "Karras"), ("DPM++ 2M", "Automatic"), ("DPM++ 2M", "Exponential"), ("DPM++ 2M SDE", "Exponential"),
     ("Euler", "Karras"), ("Euler a", "Automatic")],
)  # fmt: skip
def test_a_schedule_comes_back_as_it_was_chosen(sampler: str, scheduler: str) -> None:
    request = Img2ImgRequest(sampler_name=sampler, scheduler=scheduler)
    text = compose("a", "", {**declared_pairs(request, Settings()), "Seed": "1", "Version": "v1.10.0"})
    back = to_fields(parse(text))
    assert (back.fields["sampler_name"], back.fields["scheduler"], back.notes) == (sampler, scheduler, ())
    assert "chosen" not in compose("a", "", declared_pairs(request, Settings(compatibility=EXACT)))


@pytest.mark.parametrize("scheduler", ["Karras", "Automatic"])
@pytest.mark.parametrize("second", ["", "Karras", "Automatic", "Exponential"])
def test_the_second_passs_schedule_too(scheduler: str, second: str) -> None:
    request = Txt2ImgRequest(scheduler=scheduler, enable_hr=True, hr_scheduler=second)
    text = compose("a", "", {**declared_pairs(request, Settings()), "Seed": "1", "Version": "v1.10.0"})
    back = to_fields(parse(text))
    assert (back.fields["scheduler"], back.fields["hr_scheduler"], back.ignored) == (scheduler, second, {})


def test_a_chosen_schedule_that_the_text_does_not_have_is_passed_over() -> None:
    pairs = "Steps: 5, Seed: 1, Sampler: DPM++ 2M, Schedule type: Karras, Schedule type chosen: Wavy"
    back = to_fields(parse(f"a\n{pairs}"))
    assert (back.fields["scheduler"], back.notes) == ("Automatic", ())


def note(line: str) -> tuple[dict[str, Any], str]:
    back = to_fields(parse(f"a\nSeed: 1, {line}, Version: v1.10.0"), "img2img")
    (sentence,) = back.notes
    return {**back.fields, **back.settings}, sentence


@pytest.mark.parametrize(
    ("line", "field", "value", "sentence"),
    [
        ("Sampler: Euler q", "sampler_name", None,
         "There is no sampler 'Euler q'; the closest match is 'Euler a'. The sampler was not changed."),
        ("Sampler: Euler, Schedule type: Wavy", "scheduler", "Automatic",
         "There is no schedule type 'Wavy'; Automatic was used."),
        ("Steps: 500", "steps", 150, "Sampling steps: 500 is more than 150; 150 was used."),
        ("Steps: 0", "steps", 1, "Sampling steps: 0 is less than 1; 1 was used."),
        ("Size: 99999999x512", "width", None, "Width: 99999999 is more than 4096; the size was not changed."),
        ("Size: 512x8", "width", None, "Height: 8 is less than 64; the size was not changed."),
        ("Resize by: 400", "resize_by", None, "Scale: 400 is more than 4; the size was not changed."),
        ("CFG scale: nan", "cfg_scale", None,
         "CFG Scale: 'nan' cannot be used, expected a number from 0 to 30."),
        ("Steps: many", "steps", None,
         "Sampling steps: 'many' cannot be used, expected a whole number from 1 to 150."),
        ("Clip skip: 99", "CLIP_stop_at_last_layers", None,
         "Clip skip: '99' cannot be used, expected a whole number from 1 to 12."),
        ("Hypernet: x, Size: 512x512, Hypertile U-Net: True", "width", 512,
         "Ignored, because Palimpsest has no such setting: Hypernet, Hypertile U-Net."),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_told_in_a_sentence(line: str, field: str, value: object, sentence: str) -> None:
    fields, said = note(f"{line}, Model: x" if line.count(",") == 0 else line)
    assert (fields.get(field), said) == (value, sentence)


def test_an_img2img_text_sent_to_txt2img_leaves_its_keys_without_a_word() -> None:
    text = "a\nSteps: 5, Seed: 1, RNG: CPU, Denoising strength: 0.5, Resize mode: Crop and resize"
    back = to_fields(parse(text), "txt2img")
    assert back.ignored == {"Denoising strength": "0.5", "Resize mode": "Crop and resize"}
    assert back.notes == ()
    assert "denoising_strength" not in back.fields


@given(st.text() | st.lists(st.tuples(st.sampled_from(KEYS), st.text(max_size=20))).map(
    lambda pairs: ", ".join(f"{key}: {value}" for key, value in pairs)
))  # fmt: skip
def test_any_text_gives_valid_fields(text: str) -> None:
    back = to_fields(parse(text))
    request = Img2ImgRequest if back.kind == "img2img" else Txt2ImgRequest
    assert request.model_validate(back.fields).model_dump(include=set(back.fields)) == back.fields
    assert Settings().overridden(back.settings)


def test_the_checkpoint_of_a_text_is_selected_where_it_is_here() -> None:
    catalog = Catalog((Checkpoint("one", Path("one.safetensors")), Checkpoint("two", Path("two.safetensors"))))
    text = "a\nSteps: 5, Seed: 1, RNG: CPU, Compatibility: Palimpsest, Model: "
    assert to_fields(parse(text + "two"), catalog=catalog).settings == {"sd_model_checkpoint": "two"}
    assert to_fields(parse(text + "one"), catalog=catalog).settings == {}
    assert to_fields(parse(text + "three"), catalog=catalog).notes == (
        "The picture's checkpoint 'three' is not installed.",
    )


@pytest.mark.parametrize(
    ("pairs", "now", "settings", "notes"),
    [
        ("VAE: soft.pt, Version: v1.10.1", "Automatic", {"sd_vae": "soft.pt"}, ()),
        ("VAE: soft.pt, Version: v1.10.1", "soft.pt", {}, ()),
        ("VAE: renamed.pt, VAE hash: abababab", "None", {"sd_vae": "soft.pt"}, ()),
        ("VAE: gone.pt", "soft.pt", {}, ("The picture's VAE 'gone.pt' is not installed.",)),
        ("VAE: one.vae.safetensors", "Automatic", {}, ()),  # which is what Automatic uses
        ("Version: v1.10.1", "Automatic", {"sd_vae": "None"}, ()),
        ("Version: v1.10.1", "None", {}, ()),
        ("Version: v1.10.1", "gone.pt", {"sd_vae": "None"}, ()),
        # A truncated text: missing keys mean nothing.
        (
            "Model hash: 0123456789",
            "soft.pt",
            {},
            ("The picture's checkpoint '0123456789' is not installed.",),
        ),
    ],
)
def test_the_vae_of_a_text_is_chosen_where_it_is_here(
    pairs: str, now: str, settings: dict[str, Any], notes: tuple[str, ...]
) -> None:
    catalog = Catalog(
        (Checkpoint("one", Path("one.safetensors")),),
        vaes=(Vae("one.vae.safetensors", Path("one.vae.safetensors")), Vae("soft.pt", Path("soft.pt"), "ab" * 32)),
    )
    text = f"a\nSteps: 5, Seed: 1, RNG: CPU, Compatibility: Palimpsest, {pairs}"
    read = to_fields(parse(text), settings=Settings(sd_vae=now), catalog=catalog)
    assert (read.settings, read.notes) == (settings, notes)


def test_the_checkpoints_of_the_second_pass_and_the_refiner_have_the_names_that_are_on_offer() -> None:
    catalog = Catalog((Checkpoint("sub/one.safetensors", Path("sub/one.safetensors"), hash="ab" * 32),))
    text = "a\nSteps: 5, Sampler: Euler, Hires upscale: 2, Hires checkpoint: one, Refiner: {}, Refiner switch at: 0.5"
    read = to_fields(parse(text.format("gone [abababab]")), catalog=catalog)
    fields = (read.fields["hr_checkpoint_name"], read.fields["refiner_checkpoint"], read.fields["refiner_switch_at"])
    assert (fields, read.notes) == (("sub/one.safetensors", "sub/one.safetensors", 0.5), ())
    gone = to_fields(parse(text.format("gone")), catalog=catalog)
    assert gone.fields["refiner_checkpoint"] == ""
    assert gone.notes == ("The picture's checkpoint 'gone' is not installed.",)


@pytest.mark.parametrize(
    ("version", "prompt", "more", "pairs"),
    [
        ("v1.10.0", "[a:b:0.5]", "", {}),
        ("v1.5.2", "[a:b:0.5]", "", {"Old prompt editing timelines": "True", "Downcast alphas_cumprod": "True"}),
        ("1.5.2", "a", ", Sampler: PLMS", {"Pad conds v0": "True", "Downcast alphas_cumprod": "True"}),
        ("v1.7.0-224-gabc", "a", "", {"Downcast alphas_cumprod": "True"}),
        ("v1.7.0-225-gabc", "a", "", {}),
        ("v1.7.0-300", "a", ", Refiner: r", {"Refiner switch by sampling steps": "True"}),
        ("Palimpsest 0.1.0", "[a:b:0.5]", "", {}),
    ],
)
def test_the_version_tells_what_an_old_text_leaves_unsaid(
    version: str, prompt: str, more: str, pairs: dict[str, str]
) -> None:
    assert implied(parse(f"{prompt}\nSteps: 1, Seed: 1{more}, Version: {version}")) == pairs


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ("Seed: 1", "txt2img"),
        ("Denoising strength: 0.5", "img2img"),
        ("Denoising strength: 0.5, Hires upscale: 2", "txt2img"),
        ("Resize mode: Crop and resize", "img2img"),
    ],
)
def test_the_kind_of_job_is_told_by_the_keys(keys: str, kind: str) -> None:
    assert to_fields(parse(f"a\nSteps: 1, Sampler: Euler, {keys}")).kind == kind


@pytest.mark.parametrize(
    ("pairs", "name", "value"),
    [
        ("CFG scale: 7,5, Seed: 5", "cfg_scale", 7.5),
        ("Seed: 5, Denoising strength: 0,35", "denoising_strength", 0.35),
        ("Eta: 0,25, Seed: 5", "eta_ancestral", 0.25),
        ("Seed: 1,234,567, CFG scale: 7", "seed", 1234567),
        ("CFG scale: 7, 5, Seed: 5", "cfg_scale", 7.0),  # text after a space is something else
        ('CFG scale: "7,5", Seed: 5', "cfg_scale", 7.5),
    ],
)
def test_a_comma_in_a_number_is_read_as_people_write_it(pairs: str, name: str, value: float) -> None:
    read = to_fields(parse(f"a cat\nSteps: 20, Sampler: Euler, {pairs}, Size: 512x512, Version: v1.10.0"), "img2img")
    assert {**read.fields, **read.settings}[name] == value
    assert not any("75" in note or "35" in note for note in read.notes)


def test_a_fraction_of_what_is_counted_is_told() -> None:
    read = to_fields(parse("a cat\nSteps: 20,5, Sampler: Euler, CFG scale: 7, Seed: 5, Size: 512x512"))
    assert "steps" not in read.fields
    assert any(note.startswith("Sampling steps: '20.5' cannot be used") for note in read.notes), read.notes


@pytest.mark.parametrize(
    ("name", "field", "notes"),
    [
        ("lanczos", "Lanczos", ()),
        ("Sharp", "Sharp", ()),
        ("R-ESRGAN 4x+", "Latent", ("The picture's upscaler 'R-ESRGAN 4x+' is not installed; Latent was used.",)),
    ],
)
def test_an_upscaler_that_is_not_installed_is_told(name: str, field: str, notes: tuple[str, ...]) -> None:
    text = f"a\nSteps: 20, Sampler: Euler, Size: 64x64, Hires upscale: 2, Hires upscaler: {name}"
    found = to_fields(parse(text), catalog=Catalog(upscalers=(*UPSCALERS, Upscaler("Sharp"))))
    assert (found.fields["hr_upscaler"], tuple(found.notes)) == (field, notes)
