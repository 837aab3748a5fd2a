"""Sampled latents survive what happens before decoding: the next attempt only decodes, and produces the same bytes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from modules.base.events import Failed, Finished, ImageDone, Staged, Stepped
from modules.networks import vae
from modules.processing.engine import Engine, batch, create_engine
from modules.processing.engine.kept_latents import FOLDER
from modules.schema.catalog import Checkpoint
from modules.schema.request import Img2ImgRequest, Txt2ImgRequest
from modules.schema.settings import Settings
from tests.admitted import Folders
from tests.processing.engine.test_engine import source
from tests.tiny import write_tiny_checkpoint

SMALL: dict[str, Any] = {"width": 64, "height": 64, "steps": 2, "seed": 7, "subseed": 1, "prompt": "a cat"}
PLAIN = Txt2ImgRequest(**SMALL)
HIRES = Txt2ImgRequest(**SMALL, enable_hr=True, hr_scale=1.5, hr_checkpoint_name="other")
REQUESTS = {
    "txt2img": PLAIN,
    "two at once": Txt2ImgRequest(**SMALL, batch_size=2),
    "two passes of two checkpoints": HIRES,
    "refiner": Txt2ImgRequest(**SMALL, refiner_checkpoint="other", refiner_switch_at=0.5),
    "mask": Img2ImgRequest(**SMALL, init_images=(source(),), mask=source(), denoising_strength=0.9),
}
FAILURES = {
    "torch's": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "a CPU's": RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: not enough memory"),
    "Python's": MemoryError(),
}


class Bench:
    """An engine with a cache folder."""

    def __init__(self, folder: Path, cache: Path, engine: Engine) -> None:
        self.folder, self.cache, self.engine = folder, cache, engine

    def events(self, request: Any, first_batch: int = 0, **settings: Any) -> Iterator[Any]:
        self.engine._cache_dir = self.cache  # pyright: ignore[reportPrivateUsage]
        folders = Folders(self.folder / "cache", (self.folder,), ())
        checkpoint = Checkpoint("tiny", self.folder / "tiny.safetensors")
        return iter(folders.run(self.engine, request, Settings(**settings), checkpoint, first_batch=first_batch))

    def run(self, request: Any, first_batch: int = 0, **settings: Any) -> list[Any]:
        return list(self.events(request, first_batch, **settings))

    @property
    def kept(self) -> list[Path]:
        return sorted((self.cache / FOLDER).glob("*"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in ("tiny", "other"):
        write_tiny_checkpoint(folder / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    """Loading takes longer than everything else; each test has its own cache folder."""
    return create_engine("cpu", "full", str(folder / "cache"))


@pytest.fixture
def bench(folder: Path, engine: Engine, tmp_path: Path) -> Bench:
    return Bench(folder, tmp_path, engine)


@pytest.fixture
def without_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def fail(error: BaseException, function: str = "_decode_pixels") -> pytest.MonkeyPatch:
        def raising(*_: Any) -> Any:
            raise error

        monkeypatch.setattr(vae, function, raising)
        return monkeypatch

    return fail


def pictures(events: list[Any]) -> list[tuple[int, str, bytes]]:
    return [(each.index, each.infotext, each.pixels) for each in events if isinstance(each, ImageDone)]


def steps(events: list[Any]) -> int:
    return sum(isinstance(each, Stepped) for each in events)


@pytest.mark.parametrize("name", REQUESTS)
def test_after_a_decode_without_memory_the_next_try_decodes_only(
    bench: Bench, without_memory: Callable[..., pytest.MonkeyPatch], tmp_path: Path, name: str
) -> None:
    request = REQUESTS[name]
    patched = without_memory(FAILURES["torch's"])
    failed = bench.run(request)
    assert steps(failed) > 0
    assert isinstance(failed[-1], Failed)
    assert failed[-1].message == "Not enough memory to decode the sampled picture."
    assert "retry the job, which only decodes them" in failed[-1].hint
    assert len(bench.kept) == 1
    patched.undo()
    again = bench.run(request)
    assert steps(again) == 0
    assert isinstance(again[-1], Finished)
    assert bench.kept == []
    undisturbed = Bench(bench.folder, tmp_path / "undisturbed", bench.engine)
    assert pictures(again) == pictures(undisturbed.run(request))


@pytest.mark.parametrize("kind", FAILURES)
def test_whatever_says_that_there_is_no_memory(
    bench: Bench, without_memory: Callable[..., pytest.MonkeyPatch], kind: str
) -> None:
    """Also in tiles, down to the smallest, and where one picture of a batch is converted to bytes."""
    patched = without_memory(FAILURES[kind], "decode")
    assert isinstance(bench.run(PLAIN)[-1], Failed)
    patched.undo()
    assert steps(bench.run(PLAIN)) == 0


def test_another_error_while_decoding_is_raised(
    bench: Bench, without_memory: Callable[..., pytest.MonkeyPatch]
) -> None:
    without_memory(RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        bench.run(PLAIN)


def test_an_engine_killed_before_it_decodes_goes_on_with_decoding(bench: Bench) -> None:
    request = Txt2ImgRequest(**SMALL, n_iter=3)
    events = bench.events(request)
    decoding = (each for each in events if isinstance(each, Staged) and each.stage == "decoding")
    next(decoding)
    next(decoding)
    bench.engine = create_engine("cpu", "full", str(bench.cache))
    rest = bench.run(request, first_batch=1)
    assert steps(rest) == 2  # of the third picture
    assert [index for index, *_ in pictures(rest)] == [1, 2]


def test_retry_asks_for_fewer_batches_and_finds_its_own(
    bench: Bench, without_memory: Callable[..., pytest.MonkeyPatch]
) -> None:
    patched = without_memory(FAILURES["Python's"])
    bench.run(Txt2ImgRequest(**SMALL, n_iter=3))
    patched.undo()
    assert steps(bench.run(Txt2ImgRequest(**SMALL, n_iter=1))) == 0


def test_a_second_pass_without_memory_leaves_the_first(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(batch, "second_start", raising)
    assert isinstance(bench.run(HIRES)[-1], Failed)
    monkeypatch.undo()
    again = bench.run(HIRES)
    assert {each.step for each in again if isinstance(each, Stepped)} == {3, 4}
    assert isinstance(again[-1], Finished)


@pytest.mark.parametrize("change", [{"seed": 8}, {"prompt": "a dog"}, {"steps": 3}, {"CLIP_stop_at_last_layers": 2}])
def test_another_request_finds_nothing(
    bench: Bench, without_memory: Callable[..., pytest.MonkeyPatch], change: dict[str, Any]
) -> None:
    patched = without_memory(FAILURES["torch's"])
    bench.run(PLAIN)
    patched.undo()
    settings = {key: value for key, value in change.items() if key.startswith("CLIP")}
    request = PLAIN if settings else Txt2ImgRequest(**{**SMALL, **change})
    assert steps(bench.run(request, **settings)) == request.steps


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0\0\0\0\0{}", None])
def test_kept_latents_that_cannot_be_read_are_sampled_again(
    bench: Bench, without_memory: Callable[..., pytest.MonkeyPatch], content: bytes | None
) -> None:
    patched = without_memory(FAILURES["torch's"])
    bench.run(PLAIN)
    patched.undo()
    whole = bench.kept[0].read_bytes()
    bench.kept[0].write_bytes(whole[:-4] if content is None else content)
    events = bench.run(PLAIN)
    assert (steps(events), isinstance(events[-1], Finished)) == (2, True)


def test_a_disk_that_refuses_does_not_end_the_job(bench: Bench) -> None:
    (bench.cache / FOLDER).write_bytes(b"")  # a file in place of the folder
    events = bench.run(PLAIN)
    assert (len(pictures(events)), isinstance(events[-1], Finished)) == (1, True)
