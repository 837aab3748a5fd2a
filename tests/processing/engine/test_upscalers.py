"""Networks that enlarge pictures: between the passes of hires. fix, in scripts, and alone."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import save_file

from modules.base.events import Failed, Finished, ImageDone, Stop
from modules.base.picture import Picture
from modules.processing.engine import Engine, create_engine
from modules.processing.kinds.extras import EXTRAS
from modules.processing.kinds.kind import Work
from modules.schema.catalog import Catalog, Checkpoint
from modules.schema.request import Img2ImgRequest, Txt2ImgRequest
from modules.schema.request.extras import ExtrasRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.schema.upscalers import UPSCALERS, Upscaler
from tests.networks.upscalers.test_networks import tiny_esrgan
from tests.tiny import write_tiny_checkpoint


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return create_engine("cpu", "full", str(tmp_path_factory.mktemp("cache")), "extensions")


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> Resources:
    folder = tmp_path_factory.mktemp("models")
    checkpoint = Checkpoint("tiny", write_tiny_checkpoint(folder / "tiny.safetensors"))
    save_file(tiny_esrgan(), folder / "net.safetensors")
    network = Upscaler("Net", factor=4, path=folder / "net.safetensors")
    onnx = Upscaler("Odd", path=folder / "odd.onnx", reason="odd.onnx is an ONNX file.")
    catalog = Catalog((checkpoint,), upscalers=(*UPSCALERS, network, onnx))
    return Resources(checkpoint, catalog=catalog)


def picture(width: int, height: int) -> Picture:
    return Picture.from_image(Image.linear_gradient("L").resize((width, height)).convert("RGB"))


def made(events: Iterator[Any]) -> ImageDone:
    return next(event for event in events if isinstance(event, ImageDone))


def test_hires_fix_goes_through_the_network(engine: Engine, resources: Resources) -> None:
    base: dict[str, Any] = {"width": 64, "height": 64, "steps": 1, "seed": 3, "enable_hr": True, "hr_scale": 1.5}
    pictures = {
        name: made(engine.run(Txt2ImgRequest(hr_upscaler=name, **base), Settings(), resources, lambda: Stop.NONE))
        for name in ("Net", "Lanczos")
    }
    assert (pictures["Net"].width, pictures["Net"].height) == (96, 96)
    assert "Hires upscaler: Net" in pictures["Net"].infotext
    assert pictures["Net"].pixels != pictures["Lanczos"].pixels


def test_sd_upscale_goes_through_the_network(engine: Engine, resources: Resources) -> None:
    request = Img2ImgRequest(
        init_images=(picture(64, 64),), width=64, height=64, steps=1, seed=3, denoising_strength=0.1,
        script_name="SD upscale", script_args=("", 16, "Net", 2.0),
    )  # fmt: skip
    done = made(engine.run(request, Settings(), resources, lambda: Stop.NONE))
    assert "SD upscale upscaler: Net" in done.infotext


def extras(engine: Engine, resources: Resources, stop: Any = lambda: Stop.NONE, **values: Any) -> list[Any]:
    request = ExtrasRequest(image=picture(40, 24), **values)
    return list(EXTRAS.run(engine, Work(EXTRAS, request, Settings(), resources), stop))


def test_a_picture_alone(engine: Engine, resources: Resources) -> None:
    done = made(iter(extras(engine, resources, upscaler_1="Net", upscaling_resize=2)))
    assert (done.width, done.height) == (80, 48)
    assert "Postprocess upscaler: Net" in done.infotext


def test_it_can_be_interrupted_between_tiles(engine: Engine, resources: Resources) -> None:
    asked = 0

    def stop() -> Stop:
        nonlocal asked
        asked += 1
        return Stop.INTERRUPT if asked > 1 else Stop.NONE

    events = extras(engine, resources, stop, upscaler_1="Net", upscaling_resize=8)
    assert isinstance(events[-1], Finished)
    assert events[-1].interrupted
    assert not any(isinstance(event, ImageDone) for event in events)


def test_a_file_that_cannot_be_used_is_one_sentence(engine: Engine, resources: Resources, tmp_path: Path) -> None:
    [failed] = [e for e in extras(engine, resources, upscaler_1="Odd") if isinstance(e, Failed)]
    assert failed.message == "odd.onnx is an ONNX file."
    rows = [*UPSCALERS, Upscaler("Gone", path=tmp_path / "gone.pth")]
    gone = replace(resources, catalog=replace(resources.catalog, upscalers=tuple(rows)))
    [failed] = [e for e in extras(engine, gone, upscaler_1="Gone") if isinstance(e, Failed)]
    assert "gone.pth cannot be read" in failed.message


def test_img2img_enlarges_its_source_through_the_upscaler_of_the_settings(engine: Engine, resources: Resources) -> None:
    base: dict[str, Any] = {"init_images": (picture(32, 32),), "width": 64, "height": 64, "steps": 1, "seed": 3}
    pictures = {
        name: made(
            engine.run(Img2ImgRequest(**base), Settings(upscaler_for_img2img=name), resources, lambda: Stop.NONE)
        )
        for name in ("None", "Net")
    }
    assert pictures["None"].pixels != pictures["Net"].pixels
    assert "Upscaler for img2img: Net" in pictures["Net"].infotext
    assert "Upscaler for img2img" not in pictures["None"].infotext
    unknown = engine.run(Img2ImgRequest(**base), Settings(upscaler_for_img2img="Nets"), resources, lambda: Stop.NONE)
    [failed] = [event for event in unknown if isinstance(event, Failed)]
    assert (failed.field, "did you mean 'Net'?" in failed.message) == ("upscaler_for_img2img", True)
