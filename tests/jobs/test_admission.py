"""Admission: names in a request's settings and fields are resolved to files before it is queued, whoever submits it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modules.base.errors import WebuiError
from modules.jobs.admission import Admission, FixedCatalog
from modules.processing.kinds.extras import EXTRAS
from modules.processing.kinds.generate import IMG2IMG, TXT2IMG
from modules.processing.kinds.resolve import MissingNetworks
from modules.prompts.style_file import Style
from modules.schema.catalog import Catalog, Checkpoint, Embedding, Lora, Vae
from modules.schema.request import Img2ImgRequest, Txt2ImgRequest
from modules.schema.request.extras import ExtrasRequest
from modules.schema.resources import Resources
from modules.schema.settings import EXACT, Settings

GOOD, OTHER = (Checkpoint(name, Path(f"{name}.safetensors"), hash=name[0] * 64) for name in ("good", "other"))
BROKEN = Checkpoint("broken", Path("broken.safetensors"), reason="broken.safetensors is damaged.")
VAE = Vae("soft.pt", Path("soft.pt"), "ab" * 32)
FUR, INK = (Lora(name, Path(f"{name}.safetensors")) for name in ("fur", "ink"))
WORD = Embedding("badhands", Path("badhands.pt"))
CATALOG = Catalog((GOOD, OTHER, BROKEN), (FUR, INK), (WORD,), (VAE,))


def admission() -> Admission:
    return Admission(FixedCatalog(CATALOG))


def test_everything_that_a_request_names_is_a_file_in_its_job() -> None:
    request = Txt2ImgRequest(
        prompt="a fox <lora:fur:0.5> <lora:fur:1>",
        negative_prompt="BadHands",
        enable_hr=True,
        hr_prompt="<lora:ink:1>",
        hr_checkpoint_name="OTHER",
        refiner_checkpoint="good.safetensors",
        override_settings={"sd_vae": "soft", "eta_ddim": 0.5},
    )
    spec = admission().admitted(TXT2IMG, request, Settings(sd_model_checkpoint="other"))
    assert spec.resources == Resources(OTHER, GOOD, OTHER, VAE, (FUR, INK), (WORD,), VAE, VAE)
    assert (spec.request.hr_checkpoint_name, spec.request.refiner_checkpoint) == ("other", "good")
    assert spec.settings.eta_ddim == 0.5


def test_what_a_request_does_not_use_is_not_looked_up() -> None:
    request = Txt2ImgRequest(hr_prompt="<lora:none:1>", hr_checkpoint_name="nonsense")
    assert admission().admitted(TXT2IMG, request, Settings()).resources == Resources(GOOD)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Txt2ImgRequest(override_settings={"nonsense": 1}), "nonsense"),
        (Txt2ImgRequest(override_settings={"sd_model_checkpoint": "god"}), "did you mean 'good'"),
        (Txt2ImgRequest(override_settings={"sd_model_checkpoint": "broken"}), "is damaged"),
        (Txt2ImgRequest(override_settings={"sd_vae": "sofd.pt"}), "did you mean 'soft.pt'"),
        (Txt2ImgRequest(refiner_checkpoint="othr"), "refiner_checkpoint: .*did you mean 'other'"),
        (Txt2ImgRequest(prompt="<lora:fir:1>"), "prompt: .*'fur'"),
        (Txt2ImgRequest(enable_hr=True, hr_prompt="<lora:ing:1>"), "hr_prompt: .*'ink'"),
        (Img2ImgRequest(script_name="nonsense"), "there is no such script"),
    ],
)
def test_a_wrong_name_is_refused_with_the_field_and_the_nearest_one(
    request_: Txt2ImgRequest | Img2ImgRequest, message: str
) -> None:
    kind = TXT2IMG if isinstance(request_, Txt2ImgRequest) else IMG2IMG
    with pytest.raises(WebuiError, match=message):
        admission().admitted(kind, request_, Settings())


def test_an_embedding_is_named_by_its_word_as_the_tokenizer_finds_it() -> None:
    rows = tuple(Embedding(name, Path(f"{name}.pt")) for name in ("bad", "badhands", "dusk (v1)", "fog"))
    source = FixedCatalog(Catalog((GOOD,), (Lora("fog", Path("fog.safetensors")),), rows))

    def named(**values: Any) -> list[str]:
        spec = Admission(source).admitted(TXT2IMG, Txt2ImgRequest(**values), Settings())
        return [each.name for each in spec.resources.embeddings]

    assert named(prompt="badhands, foggy") == ["badhands"]  # the longest word, and none inside another
    assert named(prompt="(BAD:1.2)", negative_prompt="[fog:sun:0.5]") == ["bad", "fog"]
    assert named(prompt="a cat AND dusk \\(v1\\), # fog") == ["dusk (v1)"]  # a comment follows #
    assert named(prompt="<lora:fog:0>", enable_hr=False, hr_prompt="fog") == []
    assert named(enable_hr=True, hr_negative_prompt="fog") == ["fog"]


OIL = Style("oil", "{prompt}, oil <lora:fur:1>", "photo")


def test_styles_are_put_around_all_prompts_and_remembered() -> None:
    with_styles = Admission(FixedCatalog(CATALOG), styles=lambda: {"oil": OIL})
    request = Txt2ImgRequest(prompt="a fox", enable_hr=True, hr_prompt="a wolf")
    spec = with_styles.admitted(TXT2IMG, request, Settings(), styles=["oil"])
    made: Txt2ImgRequest = spec.request
    assert (made.prompt, made.negative_prompt) == ("a fox, oil <lora:fur:1>", "photo")
    assert (made.hr_prompt, made.hr_negative_prompt) == ("a wolf, oil <lora:fur:1>", "")  # "" is the first pass's
    assert (spec.resources.styles, spec.resources.loras) == (("oil",), (FUR,))  # names in styles are found as well
    again = with_styles.readmitted(spec)
    assert (again.request, again.resources.styles) == (made, ("oil",))  # and not applied a second time
    with pytest.raises(WebuiError, match="no style 'oli'; did you mean 'oil'"):
        with_styles.admitted(TXT2IMG, request, Settings(), styles=["oli"])
    with pytest.raises(WebuiError, match="has no prompt"):
        with_styles.admitted(EXTRAS, ExtrasRequest(), Settings(), styles=["oil"])


class Disk:
    """A source of names that counts its scans."""

    def __init__(self, catalog: Catalog) -> None:
        self.current = catalog
        self.looks = 0

    def look(self) -> Catalog:
        self.looks += 1
        return self.current

    def knowing(self, *said: str) -> Catalog:
        return self.current

    def refresh(self) -> Catalog:
        return self.current

    def complete(self) -> Catalog:
        return self.current


class Slow(Disk):
    """A source that knows its LoRAs' headers only after waiting."""

    def __init__(self, catalog: Catalog, complete: Catalog) -> None:
        super().__init__(catalog)
        self._complete = complete
        self.waits = 0

    def complete(self) -> Catalog:
        self.waits += 1
        self.current = self._complete
        return self.current


def test_a_lora_that_nobody_has_looked_into_is_used_by_its_files_name_at_once() -> None:
    unread = Lora("ink", Path("ink.safetensors"), is_read=False)
    read = Lora("ink", Path("ink.safetensors"), "india")
    source = Slow(Catalog((GOOD,), (unread,)), Catalog((GOOD,), (read,)))
    work = Admission(source)
    assert work.admitted(TXT2IMG, Txt2ImgRequest(prompt="<lora:ink:1>"), Settings()).resources.loras == (unread,)
    assert source.waits == 0
    assert work.admitted(TXT2IMG, Txt2ImgRequest(prompt="<lora:india:1>"), Settings()).resources.loras == (read,)
    assert source.waits == 1


def test_a_name_that_a_header_may_still_tell_is_not_called_wrong_for_good() -> None:
    unread = Catalog((GOOD,), (Lora("ink", Path("ink.safetensors"), is_read=False),))
    ours = Settings(compatibility="Palimpsest")
    with pytest.raises(WebuiError, match="no LoRA 'india'") as caught:
        Admission(Slow(unread, unread)).admitted(TXT2IMG, Txt2ImgRequest(prompt="<lora:india:1>"), ours)
    assert caught.value.hint.startswith("LoRA files whose headers have not been read yet: 1.")


def written(folder: Path, name: str, text: str = "one") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_a_job_that_is_admitted_again_has_all_its_files_and_remembers_how_they_were(tmp_path: Path) -> None:
    """As after a restart: the request, the checkpoint and the files' former state come from the job store."""
    first, second = (Checkpoint(name, written(tmp_path, name)) for name in ("first", "second"))
    ink, soft = Lora("ink", written(tmp_path, "ink")), Vae("soft", written(tmp_path, "soft"))
    disk = Disk(Catalog((first, second), (ink,), vaes=(soft,)))
    request = Txt2ImgRequest(prompt="<lora:ink:1>", refiner_checkpoint="FIRST", override_settings={"sd_vae": "soft"})
    spec = Admission(disk).admitted(TXT2IMG, request, Settings(sd_model_checkpoint="second"))
    assert spec.resources.refiner == first
    assert {file.name for file in spec.resources.files} == {"first", "second", "ink", "soft"}
    kept = replace(spec, resources=Resources(spec.resources.checkpoint, files=spec.resources.files))

    changed = written(tmp_path, "ink", "another one")
    moved = second.path.rename(tmp_path / "moved")
    disk.current = replace(disk.current, checkpoints=(first, Checkpoint("second", moved)))
    again = Admission(disk).readmitted(kept).resources
    assert (again.checkpoint.path, again.refiner, again.loras, again.vae) == (moved, first, (ink,), soft)
    assert again.catalog == disk.current
    was = {file.path: (file.size, file.changed) for file in again.files}
    now = {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in was}
    assert [path for path in was if was[path] != now[path]] == [changed]  # and not the one that was moved
    assert disk.looks == 2


def test_the_checkpoint_of_a_job_that_is_admitted_again_stays(tmp_path: Path) -> None:
    """Whatever is chosen by now, and although a file with its name in another folder now comes first in the list."""
    mine = Checkpoint("a", written(tmp_path / "own", "a"))
    spec = Admission(FixedCatalog(Catalog((mine, GOOD)))).admitted(TXT2IMG, Txt2ImgRequest(), Settings())
    renamed = replace(mine, name="own/a")
    disk = FixedCatalog(Catalog((GOOD, replace(mine, path=tmp_path / "a"), renamed)))
    assert Admission(disk).readmitted(spec).resources.checkpoint == renamed
    with pytest.raises(WebuiError, match="no checkpoint named 'a'"):
        Admission(FixedCatalog(Catalog((GOOD,)))).readmitted(spec)


def test_missing_loras_can_be_left_out() -> None:
    request = Txt2ImgRequest(prompt="a <lora:gone:1> fox <lora:fur:1>")
    with pytest.raises(MissingNetworks) as missing:
        admission().admitted(TXT2IMG, request, Settings())
    assert missing.value.names == {"gone"}
    spec = admission().admitted(TXT2IMG, request, Settings(), leave_out_missing=True)
    assert (spec.request.prompt, spec.resources.loras) == ("a  fox <lora:fur:1>", (FUR,))
    exact = admission().admitted(TXT2IMG, request, Settings(compatibility=EXACT))
    assert (exact.request.prompt, exact.resources.loras) == (request.prompt, (FUR,))
