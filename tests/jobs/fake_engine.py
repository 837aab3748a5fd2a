"""An engine without a model, for real engine processes in tests. Words of the prompt control what it does.

`images N` makes N pictures (one by default), `steps N` with that many steps; `slow` takes 20 ms per step, `wait` runs
until it is stopped, `deaf` even then; `killed` ends the process with SIGKILL in the middle of the last picture,
`exits` with exit code 3, `kills N` with SIGKILL in the middle of picture N (from 0) as long as the file `cured`, whose
name follows, does not exist, `cuts off FILE` with SIGBUS, as it reads a truncated file, `raises` and `webui-error`
raise, `dies-once FILE` exits unless FILE exists. Checkpoints named `killer`, `kills once` and `refused` do what their
names say when they are loaded; one whose file ends in `.gate` keeps loading until that file exists.
"""

import mmap
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from modules.base.errors import WebuiError
from modules.base.events import (
    EngineState,
    Event,
    Finished,
    ImageDone,
    Previewed,
    Staged,
    Started,
    Stepped,
    Stop,
    Warned,
)
from modules.schema.catalog import Catalog, Checkpoint, Vae
from modules.schema.request import GenerationRequest, Img2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.schema.upscalers import UPSCALERS, Enlarge, Upscaler

SIDE = 8


class FakeEngine:
    def __init__(self, loads: str = "", builds: str = "") -> None:
        self.loads = Path(loads) if loads else None  # a file that gets a line for each load
        if builds:
            with Path(builds).open("a") as file:
                file.write("built\n")

    def upscalers(self, catalog: Catalog, hear: Callable[[], None]) -> tuple[Upscaler, ...]:
        """Upscalers in files enlarge by their factor; the files are not read."""

        def by(factor: int) -> Enlarge:
            return lambda image, size: image.resize((image.width * factor, image.height * factor))

        networks = [replace(row, function=by(row.factor)) for row in catalog.upscalers if row.path is not None]
        return (*UPSCALERS, *networks)

    def load(self, checkpoint: Checkpoint, settings: Settings, vae: Vae | None) -> Iterator[EngineState]:
        if self.loads:
            with self.loads.open("a") as file:
                file.write(checkpoint.name + "\n")
        yield EngineState("loading", checkpoint.name, device="fake")
        while checkpoint.path.suffix == ".gate" and not checkpoint.path.exists():
            time.sleep(0.005)
        if checkpoint.name == "killer" or (checkpoint.name == "kills once" and self.loads and once_of(self.loads)):
            os.kill(os.getpid(), signal.SIGKILL)
        if checkpoint.name == "refused":
            raise WebuiError("refused.safetensors is a LoRA.", "Put it into models/Lora.", "sd_model_checkpoint")
        yield EngineState("ready", checkpoint.name, "0123456789", device="fake")

    def run(
        self,
        request: GenerationRequest,
        settings: Settings,
        resources: Resources,
        should_stop: Callable[[], Stop],
        first_batch: int = 0,
    ) -> Iterator[Event]:
        words = request.prompt
        images, steps = number(words, "images", 1), number(words, "steps", 4)
        yield Started(images, images, steps, SIDE, SIDE, request.seed)
        yield Staged("sampling")
        if "warns" in words:
            yield Warned("This is only a test.")
        while "deaf" in words:
            time.sleep(0.005)
        for index in range(first_batch, images):
            stop = Stop.NONE
            for step in range(1, steps + 1):
                while "wait" in words and not (stop := should_stop()):
                    time.sleep(0.005)
                stop = stop or should_stop()
                if stop:
                    break
                if "slow" in words:
                    time.sleep(0.02)
                yield Stepped(index, step, steps)
                yield Previewed(index, SIDE, SIDE, b"jpeg of step %d" % step)
            if stop == Stop.INTERRUPT:
                yield Finished(0.1, {}, interrupted=True)
                return
            if stop == Stop.SKIP:
                continue
            fatal = re.search(r"kills (\d+) (\S+)", words)
            if fatal and int(fatal[1]) == index and not Path(fatal[2]).exists():
                os.kill(os.getpid(), signal.SIGKILL)
            if index == images - 1:
                misbehave(words)
            yield Staged("decoding")
            size = number(words, "side", SIDE)
            yield ImageDone(
                index, request.seed + index, size, size, f"text {index}", bytes([index]) * (3 * size * size)
            )
            if isinstance(request, Img2ImgRequest) and request.mask is not None:
                for place, (suffix, shown) in enumerate(settings.beside.items(), 1):
                    yield ImageDone(
                        index + place * images, request.seed + index, size, size, f"text {index}",
                        bytes([100 + place]) * ((2 + place) * size * size), shown=shown, suffix=suffix,
                    )  # fmt: skip
        yield Finished(0.1, {"sampling": 0.05})


def once_of(loads: Path) -> bool:
    """Whether this is the first load recorded there."""
    return len(loads.read_text().splitlines()) == 1


def misbehave(words: str) -> None:
    if "killed" in words:
        os.kill(os.getpid(), signal.SIGKILL)
    once = re.search(r"dies-once (\S+)", words)
    if once and not Path(once[1]).exists():
        Path(once[1]).touch()
        os._exit(3)
    if cut := re.search(r"cuts off (\S+)", words):
        read_cut_off(Path(cut[1]))
    if "exits" in words:
        os._exit(3)
    if "webui-error" in words:
        raise WebuiError("steps=0: must be at least 1.", "Take more steps.", "steps")
    if "raises" in words:
        raise ValueError("the numbers do not fit")


def read_cut_off(path: Path) -> None:
    """Read bytes that were in a file when it was mapped, as safetensors maps one, and no longer are."""
    path.write_bytes(b"weights" * 10_000)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        file.truncate(0)
        bytes(mapped)


def number(words: str, name: str, otherwise: int) -> int:
    found = re.search(rf"\b{name} (\d+)", words)
    return int(found[1]) if found else otherwise


def create(**options: str) -> FakeEngine:
    return FakeEngine(**options)


def create_never(**options: str) -> FakeEngine:
    raise WebuiError("torch is not installed.", "Run python launch.py.")
