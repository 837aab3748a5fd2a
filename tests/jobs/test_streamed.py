"""Large pictures through the queue: made band by band, saved as files, resumed after a crash."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from modules.base.errors import WebuiError
from modules.base.events import EngineState, Event, LargeImageDone, Stepped, Stop
from modules.base.picture import Picture
from modules.images.geometry import Size
from modules.images.large import draft as drafts
from modules.jobs.job import Job, JobSpec
from modules.jobs.listeners import Listeners
from modules.jobs.queue import JobQueue
from modules.jobs.saving import Saver
from modules.jobs.workers.process import EngineDied
from modules.networks.device import Placement
from modules.networks.upscalers import tile_sizes
from modules.networks.upscalers.enlarger import Enlarger
from modules.processing.kinds.extras import EXTRAS, ExtrasRequest
from modules.processing.kinds.kind import Work
from modules.processing.kinds.registry import BUILT_IN
from modules.processing.streamed import result_size
from modules.schema.catalog import Catalog
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.schema.upscalers import UPSCALERS, Upscaler
from modules.store.job_folders import JobFolders
from modules.store.job_store import JobStore, is_saved_in
from modules.store.metadata import read
from modules.store.outputs import UNFINISHED, Outputs
from modules.store.pictures import Pictures
from tests.networks.upscalers.test_networks import tiny_esrgan

STREAMED = replace(EXTRAS, streamed_above=0)
CPU = Placement(torch.device("cpu"), torch.float32, torch.float32, torch.float32)


@dataclass
class Here:
    """Stands in for the engine process: runs jobs in this process, and dies when told to."""

    catalog: Catalog
    enlarger: Enlarger = field(default_factory=lambda: Enlarger(CPU))
    listeners: Listeners = field(default_factory=Listeners)
    deaths: list[int] = field(default_factory=list[int])  # number of steps after which each next run dies
    died: bool = False
    stop: Stop = Stop.NONE
    stepped: threading.Event = field(default_factory=threading.Event)
    runs: list[Path | None] = field(default_factory=list[Path | None])

    def upscalers(self, catalog: Catalog, hear: Callable[[float], None]) -> tuple[Upscaler, ...]:
        networks = [row for row in catalog.upscalers if row.path is not None]
        return (*UPSCALERS, *self.enlarger.functions(networks, hear))

    def run(self, work: Work) -> Iterator[Event | EngineState]:
        self.runs.append(work.folder)
        left = self.deaths.pop(0) if self.deaths else 10**9
        events = work.kind.run(self, work, lambda: self.stop)
        for event in events:
            if isinstance(event, Stepped):
                left -= 1
                self.stepped.set()
            if left < 0:
                events.close()  # pyright: ignore[reportAttributeAccessIssue]
                raise EngineDied("The engine process ended.")
            yield event

    def load(self, checkpoint: Any, settings: Any, vae: Any) -> Iterator[EngineState]:
        yield EngineState("ready")

    def ask(self, stop: Stop) -> None:
        self.stop = stop

    def start(self) -> None: ...
    def release(self) -> None: ...
    def close(self) -> None: ...
    def bury(self) -> EngineDied:
        return EngineDied("")


@pytest.fixture(autouse=True)
def small_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bands and tiles so small that a small picture has several."""
    monkeypatch.setattr(drafts, "SMALL_SIDE", 64)
    monkeypatch.setattr(tile_sizes, "LARGEST_TILE", 32)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    save_file(tiny_esrgan(), tmp_path / "net.safetensors")
    return Catalog((), upscalers=(*UPSCALERS, Upscaler("Net", factor=4, path=tmp_path / "net.safetensors")))


@pytest.fixture
def engine(catalog: Catalog) -> Here:
    return Here(catalog)


def source(width: int = 40, height: int = 72, channels: int = 3) -> Picture:
    values = np.random.default_rng(5).integers(0, 256, (height // 4, width // 4, channels), np.uint8)
    return Picture.from_image(Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC))


def request(**values: Any) -> ExtrasRequest:
    return STREAMED.parse({"image": source(), "upscaler_1": "Net", "upscaling_resize": 4, **values})


def opened(folder: Path, engine: Here) -> tuple[JobQueue, Outputs]:
    outputs = Outputs(folder / "outputs")
    job_store = JobStore(folder / "jobs.sqlite", Pictures(folder / "pictures"))
    folders = JobFolders(outputs.root / UNFINISHED)
    kinds = BUILT_IN.with_kind(STREAMED)
    queue = JobQueue(engine, Saver(outputs), job_store=job_store, kinds=kinds, folders=folders)  # pyright: ignore
    queue.resume(is_saved_in(outputs))
    return queue, outputs


def spec(engine: Here, settings: Settings | None = None, **values: Any) -> JobSpec:
    return JobSpec(STREAMED, request(**values), settings or Settings(), Resources(catalog=engine.catalog))


def ended(job: Job) -> Job:
    for _ in job.follow():
        pass
    return job


def bytes_of(outputs: Outputs, job: Job) -> bytes:
    return outputs.locate(job.images[0].path).read_bytes()


def left_over(outputs: Outputs) -> list[Path]:
    return [path for path in (outputs.root / UNFINISHED).rglob("*") if path.is_file()]


CASES: list[dict[str, Any]] = [
    {},
    {"upscaling_resize": 2.5},
    {"upscaling_resize": 9, "image": source(12, 10)},  # two passes
    {"image": source(12, 10), "resize_mode": 1, "upscaling_resize_w": 40, "upscaling_resize_h": 100},
    {
        "image": source(12, 10),
        "resize_mode": 1,
        "upscaling_resize_w": 40,
        "upscaling_resize_h": 100,
        "upscaling_crop": False,
    },
    {"upscaler_2": "Lanczos", "extras_upscaler_2_visibility": 0.4},
    {"upscaler_1": "Lanczos", "upscaler_2": "Nearest", "extras_upscaler_2_visibility": 0.5},
    {"image": source(channels=4)},
    {"denoise": 0.4, "sharpen": 0.8, "max_side_length": 200},
]


@pytest.mark.parametrize("values", CASES)
def test_in_bands_a_picture_is_what_it_is_in_memory(tmp_path: Path, engine: Here, values: dict[str, Any]) -> None:
    asked, resources = request(**values), Resources(catalog=engine.catalog)
    work = Work(EXTRAS, asked, Settings(), resources)
    [whole] = [event for event in EXTRAS.run(engine, work, lambda: Stop.NONE) if hasattr(event, "pixels")]
    events = list(STREAMED.run(engine, replace(work, folder=tmp_path / "job"), lambda: Stop.NONE))
    [large] = [event for event in events if isinstance(event, LargeImageDone)]
    assert (large.width, large.height) == (whole.width, whole.height)  # pyright: ignore
    assert large.infotext == whole.infotext  # pyright: ignore
    with Image.open(large.path) as image:
        pixels = np.array(image).astype(int)
    expected = np.frombuffer(whole.pixels, np.uint8).reshape(pixels.shape)  # pyright: ignore
    np.testing.assert_allclose(pixels, expected, atol=1)
    assert np.mean(pixels != expected) < 0.02  # see Resized


def test_a_large_picture_is_a_file_of_the_outputs_with_its_parameters(tmp_path: Path, engine: Here) -> None:
    queue, outputs = opened(tmp_path, engine)
    for format, ending in (("", "png"), ("jpg", "jpg"), ("tiff", "tiff")):
        job = ended(queue.submit(spec(engine, samples_format=format)))
        assert job.status == "finished"
        [image] = job.images
        assert image.path.endswith(f".{ending}")
        found = Picture.from_bytes(bytes_of(outputs, job))
        assert (found.width, found.height) == (image.width, image.height) == (160, 288)
        texts = read(found)
        told = texts.items["extras"] if ending == "png" else texts.infotext
        assert "Postprocess upscaler: Net" in told == image.infotext
        assert f"Source hash: {source().sha256}" in told
    assert left_over(outputs) == []
    queue.close()


@pytest.mark.parametrize("format", ["png", "jpg", "tiff"])
def test_a_job_whose_engine_dies_continues_and_its_file_is_the_same(tmp_path: Path, engine: Here, format: str) -> None:
    queue, outputs = opened(tmp_path, engine)
    undisturbed = ended(queue.submit(spec(engine, samples_format=format)))
    engine.deaths = [4]
    runs = len(engine.runs)
    job = ended(queue.submit(spec(engine, samples_format=format)))
    assert len(engine.runs) == runs + 2
    assert job.status == "finished"
    assert bytes_of(outputs, job) == bytes_of(outputs, undisturbed)
    assert left_over(outputs) == []
    queue.close()


def test_after_a_restart_it_continues_at_the_last_whole_band(tmp_path: Path, engine: Here, catalog: Catalog) -> None:
    queue, outputs = opened(tmp_path, engine)
    undisturbed = bytes_of(outputs, ended(queue.submit(spec(engine))))
    folder = tmp_path / "killed"
    work = Work(STREAMED, request(), Settings(), Resources(catalog=catalog), folder=folder)
    events = STREAMED.run(engine, work, lambda: Stop.NONE)
    while not (folder / drafts.STATE).exists():  # how far it got before it was killed
        next(events)
    events.close()  # pyright: ignore[reportAttributeAccessIssue]
    counted: list[int] = []
    evaluated = Enlarger(CPU)
    tiles = evaluated.rows

    def rows(*given: Any) -> Any:
        hear = given[-1]
        return tiles(*given[:-1], lambda share: (counted.append(1), hear(share))[1])  # pyright: ignore[reportCallIssue]

    evaluated.rows = rows  # pyright: ignore
    [large] = [
        event
        for event in STREAMED.run(Here(catalog, evaluated), work, lambda: Stop.NONE)
        if isinstance(event, LargeImageDone)
    ]
    assert Path(large.path).read_bytes() == undisturbed
    assert 0 < len(counted) <= evaluated.tiles(catalog.upscalers[-1], Size(40, 72), Size(160, 288), 32)
    queue.close()


def test_an_interrupted_job_leaves_nothing_behind(tmp_path: Path, engine: Here) -> None:
    queue, outputs = opened(tmp_path, engine)
    job = queue.submit(spec(engine, upscaling_resize=16, image=source(64, 96)))
    engine.stepped.wait(60)
    job.interrupt()
    assert ended(job).status == "interrupted"
    assert job.images == ()
    assert left_over(outputs) == []
    queue.close()


def test_folders_of_jobs_that_are_gone_go_at_the_next_start(tmp_path: Path) -> None:
    folders = JobFolders(tmp_path / UNFINISHED)
    for name in ("0123456789abcdef", "fedcba9876543210", "mine"):
        (tmp_path / UNFINISHED / name).mkdir(parents=True)
    folders.keep_only({"0123456789abcdef"})
    assert {path.name for path in (tmp_path / UNFINISHED).iterdir()} == {"0123456789abcdef", "mine"}
    with pytest.raises(ValueError):
        folders.of("../other")


class Names:
    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"upscaling_resize": 64, "image": source(1024, 1024)}, "more than the limit of 1073 megapixels"),
        ({"upscaling_resize": 32, "image": source(1024, 1024), "samples_format": "webp"}, "16383 pixels a side"),
        ({"upscaling_resize": 32, "image": source(4000, 4), "samples_format": "jpg"}, "65535 pixels a side"),
        ({"upscaling_resize": 32, "image": source(1024, 1024), "color_fix": "AdaIN"}, "color_fix=AdaIN"),
        ({"upscaling_resize": 32, "image": source(1024, 1024), "upscaler_1": "Own"}, "Own needs the whole picture"),
    ],
)
def test_what_cannot_be_made_is_said_before_work_begins(
    catalog: Catalog, values: dict[str, Any], sentence: str
) -> None:
    own = Upscaler("Own", function=lambda image, size: image)
    names: Any = Names(replace(catalog, upscalers=(*catalog.upscalers, own)))
    with pytest.raises(WebuiError, match=sentence):
        STREAMED.admitted(request(**values), Settings(), names)


def test_32768_pixels_a_side_are_admitted(catalog: Catalog) -> None:
    names: Any = Names(catalog)
    for format in ("png", "jpg", "tiff"):
        asked = request(upscaling_resize=32, image=source(1024, 1024), samples_format=format)
        STREAMED.admitted(asked, Settings(), names)
        assert result_size(asked, Size(1024, 1024)) == Size(32768, 32768)
