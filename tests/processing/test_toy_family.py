"""A family that shares nothing with Stable Diffusion 1 runs through the same engine, and through the queue."""

import io
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from modules.base.events import Event, Failed, Finished, ImageDone, Started, Stepped, Stop, Warned
from modules.base.picture import Picture
from modules.extension.loading import load as load_extensions
from modules.networks.device import choose_placement
from modules.networks.families import FAMILIES, family_of
from modules.networks.model import TextOptions
from modules.processing.engine import Engine
from modules.schema.catalog import Checkpoint
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.resources import Resources
from modules.schema.sampler_names import SAMPLERS
from modules.schema.settings import Settings
from modules.schema.upscalers import UPSCALERS, Upscaler
from tests.tiny import write_tiny_checkpoint
from tests.toy_family import TOY, write_toy_checkpoint

SMALL: dict[str, Any] = {"width": 80, "height": 64, "steps": 4, "seed": 7, "subseed": 1, "prompt": "a cat"}
QUIET = Settings(live_previews_enable=False)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("models")
    write_tiny_checkpoint(folder / "tiny.safetensors")
    path = write_toy_checkpoint(folder / "toy.safetensors")
    return Checkpoint(path.name, path)


def threefold(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Always three times as large, whatever the requested size, like a network."""
    return image.resize((image.width * 3, image.height * 3), Image.Resampling.BOX)


EXTENSIONS = replace(load_extensions(None), upscalers=(*UPSCALERS, Upscaler("Threefold", function=threefold, factor=3)))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, checkpoint: Checkpoint) -> Engine:
    place = choose_placement(use_cpu=True, precision="full")
    cache = tmp_path_factory.mktemp("cache")
    return Engine(place, cache, EXTENSIONS, families=(TOY, *FAMILIES))


class Run:
    def __init__(self, engine: Engine, checkpoint: Checkpoint) -> None:
        self._engine, self._checkpoint = engine, checkpoint

    def events(
        self,
        request: GenerationRequest,
        settings: Settings = QUIET,
        stops: Iterator[Stop] | None = None,
        first: int = 0,
        others: dict[str, Any] | None = None,
    ) -> list[Any]:
        """`others` are the further checkpoints that the request names, by their fields in `Resources`."""
        requested = (lambda: next(stops)) if stops else (lambda: Stop.NONE)
        resources = Resources(self._checkpoint, **(others or {}))
        return list(self._engine.run(request, settings, resources, requested, first_batch=first))

    @property
    def tiny(self) -> Checkpoint:
        """A Stable Diffusion 1 checkpoint."""
        return Checkpoint("tiny", self._checkpoint.path.with_name("tiny.safetensors"))

    def pictures(self, request: GenerationRequest, settings: Settings = QUIET) -> list[ImageDone]:
        events = self.events(request, settings)
        assert not [event for event in events if isinstance(event, Failed)], events[-1]
        return [event for event in events if isinstance(event, ImageDone)]

    def picture(self, request: GenerationRequest, settings: Settings = QUIET) -> ImageDone:
        (done,) = self.pictures(request, settings)
        return done


@pytest.fixture
def run(engine: Engine, checkpoint: Checkpoint) -> Run:
    return Run(engine, checkpoint)


def small(**changes: Any) -> dict[str, Any]:
    return {**SMALL, **changes}


def png(image: Image.Image) -> Picture:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return Picture.from_bytes(buffer.getvalue())


def pixels(done: ImageDone) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(done.pixels, np.uint8).reshape(done.height, done.width, 3)


RAW = np.random.default_rng(3).integers(0, 255, (64, 80, 3), np.uint8)
SOURCE = png(Image.fromarray(RAW))
DRAWN = Image.new("L", (80, 64))
ImageDraw.Draw(DRAWN).rectangle((16, 16, 39, 31), fill=255)
MASK = png(DRAWN)


def test_a_checkpoint_is_recognized_by_its_header(checkpoint: Checkpoint) -> None:
    families = (TOY, *FAMILIES)
    tiny = Checkpoint("tiny.safetensors", checkpoint.path.with_name("tiny.safetensors"))
    assert [family_of(each, families).name for each in (checkpoint, tiny)] == ["toy-flow", "sd1"]


@pytest.mark.parametrize("sampler", [row.name for row in SAMPLERS])
def test_every_sampler_draws_from_noise_and_over_a_picture(run: Run, sampler: str) -> None:
    drawn = run.picture(Txt2ImgRequest(sampler_name=sampler, negative_prompt="a dog, far away", **SMALL))
    over = run.picture(Img2ImgRequest(sampler_name=sampler, init_images=(SOURCE,), denoising_strength=0.5, **SMALL))
    assert (drawn.width, drawn.height) == (over.width, over.height) == (80, 64)
    assert pixels(drawn).std() > 1
    assert drawn.pixels != over.pixels


@pytest.mark.parametrize("schedule", ["Automatic", "Karras", "Simple", "Normal", "SGM Uniform", "Beta"])
def test_schedules_serve_a_flow(run: Run, schedule: str) -> None:
    request = Txt2ImgRequest(sampler_name="Euler", scheduler=schedule, **SMALL)
    assert run.picture(request).pixels == run.picture(request).pixels


def test_euler_is_the_flows_own_step_rule(run: Run, engine: Engine, checkpoint: Checkpoint) -> None:
    """x ← x + (t' − t)·v over shifted even times, as flow models are sampled elsewhere."""
    done = run.picture(Txt2ImgRequest(sampler_name="Euler", cfg_scale=1.0, **SMALL))
    model = engine._model_cache.take(checkpoint).model  # pyright: ignore[reportPrivateUsage]
    cond = model.encode_prompts(["a cat"], TextOptions()).cond
    even = torch.cat([torch.linspace(1, 0.001, 4), torch.zeros(1)])
    times = (3 * even / (1 + 2 * even)).tolist()
    x = torch.randn(16, 16, 20, generator=torch.Generator().manual_seed(7))[None]
    for t, t_next in pairwise(times):
        tokens = model.latent.packed(x)  # type: ignore[attr-defined]
        with torch.inference_mode():
            v = model.transformer(tokens, torch.tensor([t]), cond.tokens, cond.mask)  # type: ignore[attr-defined]
        x = x + (t_next - t) * model.latent.unpacked(v, 16, 20)
    expected = (model.decode(x) * 255).round().to(torch.uint8)[0].movedim(0, -1).numpy()
    assert np.abs(expected.astype(int) - pixels(done)).max() <= 1  # both conversions round


@pytest.mark.parametrize("sampler", ["Euler", "Euler a", "DPM++ 2M", "DDIM"])
@pytest.mark.parametrize("fill", [0, 1, 2, 3])
def test_what_is_not_masked_keeps_its_bytes(run: Run, sampler: str, fill: int) -> None:
    request = Img2ImgRequest(
        init_images=(SOURCE,), mask=MASK, mask_blur_x=0, mask_blur_y=0, inpainting_fill=fill, denoising_strength=1.0,
        sampler_name=sampler, **SMALL,
    )  # fmt: skip
    result = pixels(run.picture(request))
    kept = np.array(DRAWN) == 0
    assert np.array_equal(result[kept], RAW[kept])
    assert not np.array_equal(result[~kept], RAW[~kept])


def test_soft_inpainting_and_only_masked_run(run: Run) -> None:
    soft = Img2ImgRequest(init_images=(SOURCE,), mask=MASK, soft_inpainting=True, **SMALL)
    close = Img2ImgRequest(init_images=(SOURCE,), mask=MASK, inpaint_full_res=1, inpaint_full_res_padding=8, **SMALL)
    assert len({run.picture(request).pixels for request in (soft, close)}) == 2


@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M", "DDIM"])
def test_grays_of_a_mask_are_strengths(run: Run, sampler: str) -> None:
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, 80).astype(np.uint8), (64, 1)), "L")
    request = Img2ImgRequest(
        init_images=(SOURCE,), mask=png(ramp), mask_strength_by_grey=True, mask_blur_x=0, mask_blur_y=0,
        denoising_strength=1.0, sampler_name=sampler, **small(steps=8),
    )  # fmt: skip
    change = np.abs(pixels(run.picture(request)).astype(int) - RAW).mean((0, 2))
    assert change[0] == 0
    assert change[:16].mean() < change[-16:].mean()


def test_a_batch_gives_the_bytes_of_its_singles(run: Run) -> None:
    together = run.pictures(Txt2ImgRequest(batch_size=2, n_iter=2, **SMALL))
    alone = [run.picture(Txt2ImgRequest(**small(seed=7 + i))) for i in range(4)]
    assert [done.seed for done in together] == [7, 8, 9, 10]
    apart = [np.abs(pixels(a).astype(int) - pixels(b)).max() for a, b in zip(together, alone, strict=True)]
    assert max(apart) <= 1  # kernels sum in another order at another batch size


def test_hires_fix_enlarges_latents_and_pictures(run: Run) -> None:
    base: dict[str, Any] = {**SMALL, "enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.6}
    names = ("Latent", "Lanczos", "Threefold")  # the last one belongs to an extension
    made = [run.picture(Txt2ImgRequest(hr_upscaler=name, **base)) for name in names]
    assert {(done.width, done.height) for done in made} == {(120, 96)}
    assert len({done.pixels for done in made}) == 3
    assert [f"Hires upscaler: {name}" in done.infotext for name, done in zip(names, made, strict=True)] == [True] * 3


def test_and_prompt_edits_and_seeds_matter(run: Run) -> None:
    prompts = ("a cat", "a dog", "a [cat:dog:0.5]", "a cat AND a dog :0.5")
    assert len({run.picture(Txt2ImgRequest(**small(prompt=prompt))).pixels for prompt in prompts}) == 4


def test_an_interrupt_ends_it_and_the_rest_is_made_later(run: Run) -> None:
    request = Txt2ImgRequest(n_iter=3, **SMALL)
    whole = run.pictures(request)
    steps = 0

    def stops() -> Iterator[Stop]:
        while True:
            yield Stop.INTERRUPT if steps > SMALL["steps"] + 1 else Stop.NONE

    events: list[Event] = []
    requested = stops()
    for event in run._engine.run(request, QUIET, Resources(run._checkpoint), lambda: next(requested)):  # pyright: ignore[reportPrivateUsage]
        events.append(event)  # type: ignore[arg-type]
        steps += isinstance(event, Stepped)
    first = [event for event in events if isinstance(event, ImageDone)]
    assert isinstance(events[-1], Finished)
    assert (events[-1].interrupted, len(first)) == (True, 1)
    rest = [event for event in run.events(request, first=1) if isinstance(event, ImageDone)]
    assert [done.pixels for done in (*first, *rest)] == [done.pixels for done in whole]


def test_sizes_follow_the_familys_rule(run: Run) -> None:
    events = run.events(Txt2ImgRequest(**small(width=70, height=68)))
    (started,) = (event for event in events if isinstance(event, Started))
    assert (started.width, started.height) == (64, 64)


def test_what_the_family_cannot_do_is_said(run: Run) -> None:
    events = run.events(Txt2ImgRequest(tiling=True, **SMALL))
    assert [event.message for event in events if isinstance(event, Warned)] == [
        "Tiling has no effect: Toy Flow checkpoints do not have it."
    ]


@pytest.mark.parametrize(
    ("field", "role", "more"),
    [("refiner_checkpoint", "refiner", {}), ("hr_checkpoint_name", "hires_checkpoint", {"enable_hr": True})],
)
def test_a_checkpoint_of_another_family_does_not_go_on(run: Run, field: str, role: str, more: dict[str, Any]) -> None:
    request = Txt2ImgRequest(**small(**{field: "tiny"}, **more))
    (failed,) = (event for event in run.events(request, others={role: run.tiny}) if isinstance(event, Failed))
    assert failed.field == field
    assert "tiny is a Stable Diffusion 1 checkpoint, toy a Toy Flow one" in failed.message
