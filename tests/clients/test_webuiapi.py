"""The PyPI client `webuiapi`, unchanged: all its methods for A1111 itself (not those for other people's extensions,
whose routes do not exist here)."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportOptionalCall=false
# webuiapi derives argument types from the defaults, and types each answer as one of two kinds.

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import webuiapi

from tests.clients.conftest import masked, picture

SMALL = {"steps": 2, "width": 64, "height": 64}


@pytest.fixture(scope="module")
def api(server: str) -> Iterator[webuiapi.WebUIApi]:
    address = urlsplit(server)
    api = webuiapi.WebUIApi(host=address.hostname, port=address.port)
    api.session.trust_env = False
    yield api
    api.session.close()


def test_txt2img(api: webuiapi.WebUIApi) -> None:
    made = api.txt2img(prompt="a cat", negative_prompt="dog", seed=1003, cfg_scale=7, **SMALL)
    assert made.image.size == (64, 64)
    assert made.info["seed"] == 1003
    assert made.parameters["prompt"] == "a cat"
    again = api.txt2img(prompt="a cat", negative_prompt="dog", seed=1003, cfg_scale=7, **SMALL)
    assert again.image.tobytes() == made.image.tobytes()


def test_txt2img_by_hires_fix(api: webuiapi.WebUIApi) -> None:
    made = api.txt2img(
        enable_hr=True, hr_scale=2, hr_upscaler=webuiapi.HiResUpscaler.Latent, hr_second_pass_steps=2,
        denoising_strength=0.6, **SMALL,
    )  # fmt: skip
    assert made.image.size == (128, 128)


def test_img2img(api: webuiapi.WebUIApi) -> None:
    made = api.img2img(images=[picture()], prompt="a cat", seed=5, denoising_strength=0.6, **SMALL)
    assert made.image.size == (64, 64)
    assert made.info["denoising_strength"] == 0.6
    assert made.parameters["init_images"] is None


def test_img2img_with_a_mask(api: webuiapi.WebUIApi) -> None:
    made = api.img2img(images=[picture()], mask_image=masked(), inpainting_fill=1, mask_blur=0, seed=5, **SMALL)
    assert made.image.getpixel((2, 2)) == picture().getpixel((2, 2))
    assert made.image.getpixel((32, 32)) != picture().getpixel((32, 32))


def test_units_that_are_switched_off_do_no_harm(api: webuiapi.WebUIApi) -> None:
    units = [webuiapi.ControlNetUnit(image=picture(), module="canny", enabled=False)]
    assert api.txt2img(controlnet_units=units, alwayson_scripts={}, **SMALL).image.size == (64, 64)


def test_a_unit_without_a_model_is_refused(api: webuiapi.WebUIApi) -> None:
    units = [webuiapi.ControlNetUnit(image=picture(), model="lines")]
    with pytest.raises(RuntimeError, match=r"422.*there is no ControlNet .*lines.*; none is installed"):
        api.txt2img(controlnet_units=units, alwayson_scripts={}, **SMALL)


def test_what_a_control_unit_may_name(api: webuiapi.WebUIApi) -> None:
    assert api.controlnet_version() == 2
    assert api.controlnet_model_list() == []
    assert "canny" in api.controlnet_module_list()
    [drawn] = api.controlnet_detect([picture()], module="canny", processor_res=64).images
    assert drawn.size == (64, 64)


def test_extras(api: webuiapi.WebUIApi) -> None:
    one = api.extra_single_image(image=picture(), upscaler_1=webuiapi.Upscaler.Lanczos, upscaling_resize=1.5)
    assert one.image.size == (96, 96)
    two = api.extra_batch_images(
        images=[picture(), picture(32, 48)], name_list=["a", "b"], upscaler_1=webuiapi.Upscaler.Nearest
    )
    assert [image.size for image in two.images] == [(128, 128), (64, 96)]


def test_png_info_reads_what_txt2img_wrote(api: webuiapi.WebUIApi) -> None:
    made = api.txt2img(prompt="a cat, sitting", seed=7, **SMALL)
    told = api.png_info(made.image)
    assert told.info == made.info["infotexts"][0]
    assert (told.parameters["Prompt"], told.parameters["Seed"]) == ("a cat, sitting", "7")


@pytest.mark.parametrize("model", ["clip", "deepdanbooru"])
def test_interrogate_is_refused_with_a_sentence(api: webuiapi.WebUIApi, model: str) -> None:
    with pytest.raises(RuntimeError, match=r"404.*describing a picture is not supported"):
        api.interrogate(picture(), model)


def test_stopping_when_nothing_runs(api: webuiapi.WebUIApi) -> None:
    assert api.interrupt() == {}
    assert api.skip() is None


def test_options(api: webuiapi.WebUIApi) -> None:
    options = api.get_options()
    assert api.set_options(options) is None
    assert api.get_options() == options
    api.set_options({"eta_ddim": 0.5})
    assert api.get_options()["eta_ddim"] == 0.5
    api.set_options({"eta_ddim": 0})


def test_progress_and_waiting(api: webuiapi.WebUIApi) -> None:
    api.util_wait_for_ready(check_interval=0.1)
    assert api.get_progress()["progress"] == 0.0


@pytest.mark.parametrize(
    "method",
    [
        "get_samplers", "get_schedulers", "get_upscalers", "get_latent_upscale_modes", "get_sd_models", "get_sd_vae",
        "get_loras", "get_hypernetworks", "get_face_restorers", "get_realesrgan_models", "get_prompt_styles",
        "util_get_model_names", "util_get_sampler_names", "util_get_scheduler_names",
    ],
)  # fmt: skip
def test_lists(api: webuiapi.WebUIApi, method: str) -> None:
    assert isinstance(getattr(api, method)(), list)


@pytest.mark.parametrize("method", ["get_cmd_flags", "get_scripts", "get_embeddings", "get_memory"])
def test_objects(api: webuiapi.WebUIApi, method: str) -> None:
    assert "error" not in getattr(api, method)()


def test_models(api: webuiapi.WebUIApi) -> None:
    assert api.refresh_checkpoints() is None
    title = api.util_get_current_model()
    assert title in api.util_get_model_names()
    assert title.startswith("tiny.safetensors")
    api.util_set_model("tiny")  # the nearest title, which is the loaded one
    assert api.util_get_current_model() == title


def test_routes_of_its_own_choice(api: webuiapi.WebUIApi) -> None:
    assert api.custom_get("samplers", baseurl=True) == api.get_samplers()
    assert api.custom_get("internal/ping") == {}
    assert api.custom_post("png-info", {"image": ""}, baseurl=True).info == ""


@pytest.mark.parametrize(
    "ask",
    [
        lambda api: api.get_artists(),
        lambda api: api.get_artist_categories(),
    ],
)
def test_routes_that_are_not_here_say_so(api: webuiapi.WebUIApi, ask: Callable[[webuiapi.WebUIApi], Any]) -> None:
    assert ask(api)["detail"] == "Not Found"


def test_asking_without_waiting(api: webuiapi.WebUIApi) -> None:
    async def both() -> list[Any]:
        return await asyncio.gather(
            api.txt2img(prompt="a", use_async=True, **SMALL), api.txt2img(prompt="b", use_async=True, **SMALL)
        )

    assert [made.parameters["prompt"] for made in asyncio.run(both())] == ["a", "b"]


def test_all_methods_are_driven() -> None:
    """Another version of the client may have more."""
    methods = {name for name in vars(webuiapi.WebUIApi) if not name.startswith("_")}
    driven = {
        "txt2img", "img2img", "extra_single_image", "extra_batch_images", "png_info", "interrogate", "interrupt",
        "skip", "get_options", "set_options", "get_cmd_flags", "get_progress", "get_samplers", "get_sd_vae",
        "get_upscalers", "get_latent_upscale_modes", "get_loras", "get_sd_models", "get_hypernetworks",
        "get_face_restorers", "get_realesrgan_models", "get_prompt_styles", "get_artist_categories", "get_artists",
        "refresh_checkpoints", "get_scripts", "get_embeddings", "get_memory", "get_schedulers", "custom_get",
        "custom_post", "util_get_model_names", "util_get_sampler_names", "util_get_scheduler_names",
        "util_set_model", "util_get_current_model", "util_wait_for_ready", "controlnet_version",
        "controlnet_model_list", "controlnet_module_list", "controlnet_detect",
    }  # fmt: skip
    inner = {
        "has_controlnet", "has_adetailer", "has_animatediff", "check_extensions", "set_auth", "get_endpoint",
        "async_post", "post_and_get_api_result",
    }  # fmt: skip
    of_extensions = {
        "list_prompt_gen_models", "prompt_gen",
    }  # fmt: skip
    assert methods == driven | inner | of_extensions
