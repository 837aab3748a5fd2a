"""Batches over a real queue, with an engine in this process that paints one color."""

import csv
import io
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modules.base.errors import WebuiError
from modules.base.events import Stop
from modules.base.fields import params
from modules.base.picture import Picture
from modules.images.geometry import Size
from modules.jobs.batch.batch import Batch
from modules.jobs.batch.batches import Batches
from modules.jobs.batch.files import BatchFile, sorted_out
from modules.jobs.batch.keys import key_of
from modules.jobs.batch.materials import Materials
from modules.jobs.batch.options import BatchOptions
from modules.jobs.batch.results import MANIFEST
from modules.jobs.batch.sizes import sized, within
from modules.jobs.batch.state import FileState
from modules.jobs.job import JobSpec
from modules.jobs.queue import JobQueue
from modules.jobs.saving import JobSavers, Saver
from modules.processing.kinds.generate import IMG2IMG
from modules.prompts.style_file import Style
from modules.schema.catalog import Catalog, Checkpoint, Vae
from modules.schema.request import Img2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import EXACT, Settings
from modules.schema.sizes import SD1_SIZES, SizeRule
from modules.store.metadata import encoded
from modules.store.outputs import Outputs
from modules.store.pictures import Pictures
from tests.jobs.painter import Painter

CATALOG = Catalog(
    (Checkpoint("good", Path("good.safetensors")), Checkpoint("other", Path("other.safetensors"))),
    vaes=(Vae("soft.pt", Path("soft.pt")),),
)
PATIENCE = 300  # seconds


def picture(color: str = "red", size: tuple[int, int] = (64, 64), text: str = "") -> bytes:
    return encoded(Image.new("RGB", size, color), "png", text).data


def entry(name: str, data: bytes) -> BatchFile:
    return BatchFile(name, len(data), lambda: data)


class Studio:
    """Queue, store and batches in one folder."""

    def __init__(self, folder: Path) -> None:
        self.painter = Painter()
        self.outputs = Outputs(folder / "outputs")
        self.pictures = Pictures(folder / "pictures")
        savers = JobSavers(Saver(self.outputs))
        self.queue = JobQueue(self.painter, savers)
        styles = {"oil": Style("oil", "oil of {prompt}", "photo")}
        draw = random.Random(1)
        self.batches = Batches(self.queue, savers, self.outputs, self.pictures, draw, styles=lambda: styles)

    def start(
        self, files: dict[str, bytes], masks: dict[str, bytes] | None = None, form: dict[str, Any] | None = None,
        **options: Any,
    ) -> Batch:  # fmt: skip
        materials = Materials(
            {"width": 64, "height": 64, "steps": 2, "seed": 7, **(form or {})},
            sorted_out([entry(name, data) for name, data in files.items()]),
            sorted_out([entry(name, data) for name, data in (masks or {}).items()]),
            BatchOptions(**options),
            Settings(),
            CATALOG,
        )
        return self.batches.start(materials)

    def run(self, files: dict[str, bytes], *args: Any, **options: Any) -> Batch:
        batch = self.start(files, *args, **options)
        until(lambda: batch.ended)
        return batch

    def saved(self) -> list[str]:
        root = self.outputs.root
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))


def until(happened: Callable[[], object]) -> None:
    limit = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < limit
        time.sleep(0.01)


def outcomes(batch: Batch) -> dict[str, str]:
    return {file.name: file.outcome for file in batch.files()}


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    made = Studio(tmp_path)
    yield made
    made.batches.close()
    made.queue.close()


def test_each_file_becomes_a_job_and_keeps_its_name(studio: Studio) -> None:
    batch = studio.run({"b.png": picture("blue"), "a.jpg": picture("red"), "sub/c.png": picture("green")})
    assert (batch.status, outcomes(batch)) == ("finished", {"a.jpg": "done", "b.png": "done", "sub/c.png": "done"})
    assert studio.saved() == ["batch/a.png", "batch/b.png", "batch/sub/c.png"]
    assert [request.init_images[0].sha256 for request, _ in studio.painter.requests] != []
    summary = batch.summary()
    assert (summary["total"], summary["settled"], summary["fraction"], summary["eta_seconds"]) == (3, 3, 1.0, None)
    assert summary["counts"] == {"done": 3, "kept": 0, "failed": 0, "left_out": 0, "skipped": 0}


def test_one_bad_file_does_not_stop_the_rest(studio: Studio) -> None:
    batch = studio.run(
        {"a.png": picture(), "b.png": b"no picture", "c.png": picture()[:90], "d.png": b"", "e.png": picture()}
    )
    files = {file.name: file for file in batch.files()}
    assert outcomes(batch) == {
        "a.png": "done",
        "b.png": "failed",
        "c.png": "failed",
        "d.png": "failed",
        "e.png": "done",
    }
    assert files["b.png"].sentence.startswith("b.png: the file is not a readable picture.")
    assert files["c.png"].sentence.startswith("c.png: the file is damaged or cut off")
    assert files["d.png"].sentence.startswith("d.png: the file is empty")
    assert batch.status == "finished"


def test_several_pictures_of_a_file_are_numbered_and_nothing_is_overwritten(studio: Studio) -> None:
    form = {"n_iter": 2}
    studio.run({"a.png": picture("red"), "a.jpg": picture("blue")}, form=form)
    assert studio.saved() == ["batch/a-1.png", "batch/a-2.png", "batch/a_2-1.png", "batch/a_2-2.png"]
    before = {path: (studio.outputs.root / path).read_bytes() for path in studio.saved()}
    studio.run({"a.png": picture("red")}, form={"n_iter": 2, "prompt": "another"})
    assert {path: (studio.outputs.root / path).read_bytes() for path in before} == before
    assert len(studio.saved()) == 6


def test_a_second_run_passes_over_what_is_finished(studio: Studio) -> None:
    files = {"a.png": picture("red"), "b.png": picture("blue")}
    first = studio.run({**files, "c.png": b"broken"})
    again = studio.run({**files, "c.png": picture("green")})
    assert outcomes(again) == {"a.png": "kept", "b.png": "kept", "c.png": "done"}
    assert again.pictures() == ("batch/a.png", "batch/b.png", "batch/c.png")
    assert first.pictures() == ("batch/a.png", "batch/b.png")
    assert len(studio.painter.requests) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"form": {"prompt": "other"}},
        {"files": {"a.png": picture("blue")}},
        {"files": {"z.png": picture("red", (128, 64))}},
        {"skip_finished": False},
        {"form": {"override_settings": {"sd_vae": "soft.pt"}}},
        {"max_side": 96, "size": "source"},
        {"output": "elsewhere"},
        {"masks": {"m.png": picture("white")}},
    ],
)
def test_what_was_made_otherwise_is_made_anew(studio: Studio, change: dict[str, Any]) -> None:
    files = {"a.png": picture("red", (128, 64))}
    studio.run(files)
    batch = studio.run(**{"files": files, **change})
    assert set(outcomes(batch).values()) == {"done"}
    assert len(studio.painter.requests) == 2


# A different value for each setting that pictures may mention, and for some others.
OTHERWISE: dict[str, Any] = {
    "compatibility": EXACT, "sd_model_checkpoint": "other", "CLIP_stop_at_last_layers": 2, "emphasis": "Ignore",
    "comma_padding_backtrack": 0, "enable_prompt_comments": False, "randn_source": "NV", "tiling": True,
    "pad_cond_uncond": True, "pad_cond_uncond_v0": True, "batch_cond_uncond": False, "s_min_uncond": 1.0,
    "s_min_uncond_all": True, "skip_early_cond": 0.5, "initial_noise_multiplier": 0.5, "img2img_extra_noise": 0.1,
    "token_merging_ratio": 0.5, "token_merging_ratio_img2img": 0.5, "token_merging_ratio_hr": 0.5,
    "upscaler_for_img2img": "Nearest",
    "img2img_fix_steps": True, "img2img_background_color": "#000000", "inpainting_mask_weight": 0.5,
    "img2img_color_correction": True, "overlay_inpaint": False, "eta_ancestral": 0.5, "eta_ddim": 0.5, "s_churn": 1.0,
    "s_tmin": 1.0, "s_tmax": 1.0, "s_noise": 1.1, "sigma_min": 0.1, "sigma_max": 10.0, "rho": 5.0,
    "eta_noise_seed_delta": 1, "always_discard_next_to_last_sigma": True, "sgm_noise_multiplier": True,
    "uni_pc_variant": "bh2", "uni_pc_skip_type": "logSNR", "uni_pc_order": 2, "uni_pc_lower_order_final": False,
    "sd_noise_schedule": "Zero Terminal SNR", "beta_dist_alpha": 0.5, "beta_dist_beta": 0.5,
    "use_old_emphasis_implementation": True, "use_old_karras_scheduler_sigmas": True,
    "no_dpmpp_sde_batch_determinism": True, "use_old_scheduling": True, "use_downcasted_alpha_bar": True,
    "use_old_hires_fix_width_height": True, "refiner_switch_by_sample_steps": True,
    "hires_fix_refiner_pass": "first pass", "samples_format": "webp", "jpeg_quality": 50, "webp_lossless": True,
    "live_previews_enable": False, "show_progress_every_n_steps": 7, "fp8_storage": "Enable", "sdxl_clip_l_skip": True,
    "sdxl_crop_top": 8, "sdxl_crop_left": 8, "sdxl_refiner_low_aesthetic_score": 1.0,
    "sdxl_refiner_high_aesthetic_score": 7.0,
}  # fmt: skip
FILES_AND_PAGE = {
    "samples_format",
    "jpeg_quality",
    "webp_lossless",
    "live_previews_enable",
    "show_progress_every_n_steps",
}
# For hires fix and SGM's txt2img; one pass or two depends on memory.
OF_HIRES_FIX = {"use_old_hires_fix_width_height", "token_merging_ratio_hr"}
NEVER = OF_HIRES_FIX | {"sgm_noise_multiplier", "batch_cond_uncond"} | FILES_AND_PAGE
UNIPC = {name for name in OTHERWISE if name.startswith("uni_pc")}
CHURN = {"s_churn", "s_tmin", "s_tmax", "s_noise"}
BETA = {"beta_dist_alpha", "beta_dist_beta"}
OF_SIGMAS = {"sigma_min", "sigma_max", "rho", "use_old_karras_scheduler_sigmas"}
BROWNIAN = {"no_dpmpp_sde_batch_determinism"}
ANCESTRAL = {"eta_ancestral", "eta_noise_seed_delta"}


@pytest.mark.parametrize(
    ("sampler", "scheduler", "without"),
    [
        ("Euler a", "Karras", UNIPC | CHURN | BETA | BROWNIAN | {"eta_ddim"}),
        ("Euler", "Beta", UNIPC | BROWNIAN | {"eta_ddim", "rho"} | ANCESTRAL),
        ("DPM++ SDE", "Karras", UNIPC | CHURN - {"s_noise"} | BETA | {"eta_ddim", "eta_noise_seed_delta"}),
        ("DDIM", "Automatic", UNIPC | CHURN | BETA | OF_SIGMAS | BROWNIAN | ANCESTRAL),
    ],
)
def test_only_settings_that_change_the_picture_make_a_file_anew(
    sampler: str, scheduler: str, without: set[str]
) -> None:
    written = {name for name, param in params(Settings).items() if param.control.infotext}
    assert written <= OTHERWISE.keys(), "a setting that pictures tell about is missing above"
    source = Picture.from_bytes(picture())
    request = Img2ImgRequest.parse({"init_images": (source,), "sampler_name": sampler, "scheduler": scheduler})
    checkpoint, settings = CATALOG.checkpoints[0], Settings()

    def key(changed: Settings) -> str:
        chosen = CATALOG.checkpoint(changed.sd_model_checkpoint) if changed.sd_model_checkpoint else checkpoint
        return key_of(request, changed, chosen)

    count = {name for name, value in OTHERWISE.items() if key(settings.overridden({name: value})) != key(settings)}
    assert count == OTHERWISE.keys() - NEVER - without


def test_a_result_that_was_deleted_is_made_again(studio: Studio) -> None:
    studio.run({"a.png": picture()})
    (studio.outputs.root / "batch/a.png").unlink()
    assert outcomes(studio.run({"a.png": picture()})) == {"a.png": "done"}


def test_a_manifest_that_a_crash_cut_off_is_read_as_far_as_it_goes(studio: Studio) -> None:
    studio.run({"a.png": picture("red"), "b.png": picture("blue")})
    manifest = studio.outputs.root / "batch" / MANIFEST
    manifest.write_text(manifest.read_text()[:-30] + "\n[]\nnull\n\n")
    assert sorted(outcomes(studio.run({"a.png": picture("red"), "b.png": picture("blue")})).values()) == [
        "done",
        "kept",
    ]


def test_all_files_begin_with_one_seed(studio: Studio) -> None:
    studio.run({"a.png": picture("red"), "b.png": picture("blue")}, form={"seed": -1})
    first, second = (request.seed for request, _ in studio.painter.requests)
    assert first == second >= 0


INFOTEXT = (
    "a harbour\nNegative prompt: fog\n"
    "Steps: 31, Sampler: Euler, Schedule type: Karras, CFG scale: 5.5, Seed: 77, Size: 320x448, Model: other"
)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"own": ()}, ("form", "bad", 7, 2, "DPM++ 2M", "good")),
        ({"own": ("prompt",)}, ("form a harbour", "bad", 7, 2, "DPM++ 2M", "good")),
        (
            {"own": ("prompt", "negative_prompt"), "words_mode": "replace"},
            ("a harbour", "fog", 7, 2, "DPM++ 2M", "good"),
        ),
        ({"own": ("negative_prompt", "seed", "steps")}, ("form", "bad fog", 77, 31, "DPM++ 2M", "good")),
        ({"own": ("sampler_name", "checkpoint", "cfg_scale")}, ("form", "bad", 7, 2, "Euler", "other")),
    ],
)
def test_fields_are_taken_from_the_files_metadata(
    studio: Studio, options: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    studio.run(
        {"a.png": picture(text=INFOTEXT)},
        form={"prompt": "form", "negative_prompt": "bad"},
        words=("metadata",),
        **options,
    )
    ((request, checkpoint),) = studio.painter.requests
    assert (
        request.prompt, request.negative_prompt, request.seed, request.steps, request.sampler_name, checkpoint
    ) == expected  # fmt: skip


def table(*rows: tuple[str, ...]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8-sig")


def test_styles_are_put_around_each_files_own_prompt(studio: Studio) -> None:
    files = {"a.png": picture("red"), "b.png": picture("blue"), "b.txt": b"a boat"}
    studio.run(files, form={"prompt": "a cat", "styles": ["oil"]})
    asked = [(request.prompt, request.negative_prompt) for request, _ in studio.painter.requests]
    assert asked == [("oil of a cat", "photo"), ("oil of a cat a boat", "photo")]
    with pytest.raises(WebuiError, match="no style 'oli'"):
        studio.start(files, form={"styles": ["oli"]})


def test_a_text_and_a_table_beside_the_pictures_give_their_prompts(studio: Studio) -> None:
    batch = studio.run(
        {
            "a.png": picture("red"),
            "b.png": picture("blue"),
            "c.png": picture("green"),
            "A.txt": "a cät\n".encode(),
            "c.txt": b"overruled",
            "rows.csv": table(
                ("filename", "Prompt", "seed", "cfgs", "color"),
                ("c", "a boat", "9", "4.5", "x"),
                ("b.png", "", "nine", "", ""),
                ("d", "nobody", "", "", ""),
            ),
        },
        form={"prompt": "ink,"},
    )
    requested = {request.prompt: (request.seed, request.cfg_scale) for request, _ in studio.painter.requests}
    assert requested == {"ink, a cät": (7, 7.0), "ink, a boat": (9, 4.5)}
    failed = batch.files()[1]
    assert (failed.outcome, failed.sentence[:40]) == ("failed", "rows.csv, line 3: Seed (seed) = 'nine': ")
    assert batch.notes == (
        "rows.csv: unknown fields were skipped: color.",
        "No picture has this name: rows.csv, line 4.",
    )


@pytest.mark.parametrize(
    ("masks", "options", "expected"),
    [
        ({"any.png": "white"}, {}, {"a.png": "white", "b.png": "white"}),
        ({"a.png": "white"}, {}, {"a.png": "white", "b.png": "left out"}),
        ({"a.png": "white"}, {"unmasked": "whole"}, {"a.png": "white", "b.png": "none"}),
        ({"a.png": "white"}, {"masks_for": "all"}, {"a.png": "white", "b.png": "white"}),
        ({"A_mask.jpg": "white", "sub/b.png": "black"}, {}, {"a.png": "white", "b.png": "black"}),
    ],
)
def test_masks_belong_by_name_or_to_all(
    studio: Studio, masks: dict[str, str], options: dict[str, Any], expected: dict[str, str]
) -> None:
    colors = {"a.png": "red", "b.png": "blue"}
    batch = studio.run(
        {name: picture(color) for name, color in colors.items()},
        {name: picture(color) for name, color in masks.items()},
        **options,
    )
    used: dict[str, str] = {}
    for request, _ in studio.painter.requests:
        source = request.init_images[0].rgb().getpixel((0, 0))
        name = {(255, 0, 0): "a.png", (0, 0, 255): "b.png"}[source]  # type: ignore[index]
        used[name] = {None: "none", 255: "white", 0: "black"}[request.mask and request.mask.rgb().getpixel((0, 0))[0]]  # type: ignore[index]
    used |= {file.name: "left out" for file in batch.files() if file.outcome == "left out"}
    assert used == expected


def test_a_broken_mask_costs_its_own_file_alone_and_another_size_is_brought_to_the_pictures(studio: Studio) -> None:
    batch = studio.run(
        {"a.png": picture("red"), "b.png": picture("blue", (96, 64))},
        {"a.png": b"broken", "b.png": picture("white", (32, 32))},
    )
    first, second = batch.files()
    assert (first.outcome, first.sentence[:21]) == ("failed", "the mask a.png: the f")
    assert (second.outcome, second.notes) == ("done", ("The mask (32x32) was resized to match the picture (96x64).",))
    mask = studio.painter.requests[0][0].mask
    assert mask is not None
    assert (mask.width, mask.height) == (96, 64)


@pytest.mark.parametrize(
    ("source", "side", "megapixels", "expected"),
    [
        ((4000, 3000), 1024, None, (1024, 768)),
        ((3000, 4000), 1024, None, (768, 1024)),
        ((4000, 3000), None, 1.0, (1152, 864)),
        ((4000, 3000), 512, 1.0, (512, 384)),
        ((100, 60), 1024, 4.0, (96, 64)),
        ((5000, 100), 1000, None, (1000, 64)),
        ((9000, 9000), None, None, (4096, 4096)),
    ],
)
def test_a_size_within_the_caps(
    source: tuple[int, int], side: int | None, megapixels: float | None, expected: tuple[int, int]
) -> None:
    assert within(Size(*source), SD1_SIZES, side, megapixels) == expected


@pytest.mark.parametrize(
    ("form", "options", "multiple_of", "expected"),
    [
        ({"width": 512, "height": 320}, {}, 8, (512, 320, None, 1)),
        ({"width": 512, "height": 320}, {"max_side": 256}, 8, (256, 160, None, 1)),
        ({"width": 512, "height": 320}, {"max_side": 512}, 8, (512, 320, None, 1)),
        ({"resize_by": 2.0}, {}, 8, (512, 512, 2.0, 1)),
        ({"resize_by": 2.0}, {"max_side": 128}, 8, (128, 72, None, 1)),
        ({}, {"size": "source"}, 8, (200, 120, None, 0)),
        ({}, {"size": "source", "max_side": 100}, 8, (96, 64, None, 0)),
        ({}, {"size": "source"}, 32, (192, 96, None, 0)),  # the family's rule
        ({"width": 512, "height": 320}, {"max_side": 480}, 64, (448, 256, None, 1)),
    ],
)
def test_the_size_of_a_result(
    form: dict[str, Any], options: dict[str, Any], multiple_of: int, expected: tuple[Any, ...]
) -> None:
    source = Picture.from_bytes(picture("red", (200, 120)))
    request = Img2ImgRequest.parse({"init_images": (source,), "resize_mode": 1, **form})
    made = sized(request, BatchOptions(**options), SizeRule(cell=8, multiple_of=multiple_of, native=512))
    assert (made.width, made.height, made.resize_by, made.resize_mode) == expected


def test_only_masked_scales_the_source_itself(studio: Studio) -> None:
    studio.run(
        {"a.png": picture("red", (400, 200))}, {"m.png": picture("white", (400, 200))},
        form={"inpaint_full_res": 1}, max_side=200,
    )  # fmt: skip
    ((request, _),) = studio.painter.requests
    sizes = [(one.width, one.height) for one in (*request.init_images, request.mask) if one]
    assert sizes == [(200, 96), (200, 96)]


@pytest.mark.parametrize(
    ("size", "options", "area"),
    [((400, 200), {"large_sources": "only masked"}, 1), ((400, 200), {}, 0),
     ((80, 64), {"large_sources": "only masked"}, 0),
     ((400, 200), {"large_sources": "only masked", "size": "source"}, 0)],
)  # fmt: skip
def test_a_large_picture_is_worked_on_where_it_is_masked(
    studio: Studio, size: tuple[int, int], options: dict[str, Any], area: int
) -> None:
    batch = studio.run(
        {"a.png": picture("red", size)}, {"m.png": picture("white", size)}, form={"width": 64, "height": 64}, **options
    )
    ((request, _),) = studio.painter.requests
    assert request.inpaint_full_res == area
    said = [note for state in batch.settled() for note in state.notes if note.startswith("Only the masked area")]
    assert len(said) == area


def test_stop_keeps_what_is_saved_and_a_second_run_goes_on(studio: Studio) -> None:
    files = {f"{number}.png": picture("red", (64, 64 + number)) for number in range(5)}
    studio.painter.held_from = 3
    batch = studio.start(files)
    until(studio.painter.held.is_set)
    until(lambda: len(batch.settled()) == 2)
    batch.stop()
    until(lambda: batch.ended)
    assert (batch.status, len(batch.pictures())) == ("stopped", 2)
    studio.painter.held.clear()
    again = studio.run(files)
    assert sorted(outcomes(again).values()) == ["done"] * 3 + ["kept"] * 2
    assert len(studio.saved()) == 5


def test_stop_before_the_first_file_and_a_waiting_batch(studio: Studio) -> None:
    studio.painter.held.set()
    first, second = studio.start({"a.png": picture("red")}), studio.start({"b.png": picture("blue")})
    until(lambda: first.current)
    assert second.status == "waiting"
    second.stop()
    first.stop()
    until(lambda: first.ended and second.ended)
    assert (first.status, second.status) == ("stopped", "stopped")
    assert outcomes(first) == {"a.png": "waiting"}
    assert studio.saved() == []


def test_skip_ends_the_current_file_alone(studio: Studio) -> None:
    studio.painter.held.set()
    batch = studio.start({"a.png": picture("red"), "b.png": picture("blue")})
    until(lambda: batch.current and batch.current[1].status == "running")
    studio.painter.held.clear()
    studio.painter.stop = Stop.NONE
    studio.painter.held.set()
    batch.skip()
    until(lambda: batch.settled())
    studio.painter.held.clear()
    until(lambda: batch.ended)
    assert outcomes(batch) == {"a.png": "skipped", "b.png": "done"}
    assert batch.status == "finished"


def test_a_job_that_is_interrupted_from_elsewhere_stops_the_batch(studio: Studio) -> None:
    studio.painter.held.set()
    batch = studio.start({"a.png": picture("red"), "b.png": picture("blue")})
    until(lambda: batch.current and batch.current[1].status == "running")
    studio.queue.interrupt()
    until(lambda: batch.ended)
    assert (batch.status, outcomes(batch)) == ("stopped", {"a.png": "waiting", "b.png": "waiting"})


def test_no_more_than_two_jobs_are_in_the_queue(studio: Studio) -> None:
    studio.painter.held.set()
    batch = studio.start({f"{number}.png": picture("red", (64, 64 + number)) for number in range(6)})
    until(lambda: batch.current)
    until(lambda: len(studio.queue.current()) == 2)
    time.sleep(0.1)
    assert len(studio.queue.current()) == 2
    other = studio.queue.submit(
        JobSpec(
            IMG2IMG,
            Img2ImgRequest(init_images=(Picture.from_bytes(picture()),)),
            Settings(),
            Resources(CATALOG.checkpoints[0]),
        )
    )
    studio.painter.held.clear()
    until(lambda: batch.ended)
    assert other.status == "finished"
    assert len(studio.saved()) == 7
    assert any(path.startswith("img2img-images/") for path in studio.saved())


def test_files_that_fail_alike_end_the_batch_and_the_reason_is_told(studio: Studio) -> None:
    batch = studio.run(
        {f"{number}.png": picture("red", (64, 64 + number)) for number in range(9)}, form={"prompt": "sour"}
    )
    assert batch.status == "failed"
    assert batch.summary()["message"] == (
        "5 files in a row failed with the same error; the others were not tried: "
        "The engine cannot make that. Ask for another thing."
    )
    assert batch.summary()["counts"]["failed"] in (5, 6)  # one waited in the queue
    assert all(not getattr(job.request, "init_images") for job in studio.queue.jobs() if job.status == "failed")  # noqa: B009


@pytest.mark.parametrize(
    ("form", "options", "field"),
    [
        ({"steps": 0}, {}, "steps"),
        ({"nonsense": 1}, {}, "nonsense"),
        ({"sampler_name": "Warp"}, {}, "sampler_name"),
        ({"init_images": ["x"]}, {}, "init_images"),
        ({"override_settings": {"sd_model_checkpoint": "gone"}}, {}, "sd_model_checkpoint"),
        ({}, {"output": "../elsewhere"}, "output"),
    ],
)
def test_a_form_that_no_file_could_be_made_with_is_refused_at_once(
    studio: Studio, form: dict[str, Any], options: dict[str, Any], field: str
) -> None:
    with pytest.raises(WebuiError) as caught:
        studio.start({"a.png": picture()}, form=form, **options)
    assert caught.value.field == field
    assert studio.batches.batches() == ()


def test_a_batch_without_pictures_is_refused(studio: Studio) -> None:
    with pytest.raises(WebuiError, match="The given files contain no pictures"):
        studio.start({"a.txt": b"a cat", "b.psd": b"?"})


def test_the_listeners_hear_of_each_change(studio: Studio) -> None:
    batch = studio.start({"a.png": picture("red"), "b.png": picture("blue")})
    heard: list[FileState] = []
    batch.listeners.add(lambda: heard.extend(batch.settled(len(heard))))
    until(lambda: batch.ended)
    assert {file.name for file in batch.settled()} == {"a.png", "b.png"}
    assert batch.settled(after=1) == batch.settled()[1:]


def test_sources_are_kept_for_the_page(studio: Studio) -> None:
    batch = studio.run({"a.png": picture("red")})
    assert studio.pictures.get(batch.files()[0].source).data == picture("red")
