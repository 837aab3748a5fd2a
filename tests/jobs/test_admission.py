"""Admission: the settings and names of a request become files before it is queued, for whoever submits it."""

from pathlib import Path

import pytest

from modules.base.errors import WebuiError
from modules.jobs.admission import Admission, FixedCatalog
from modules.processing.kinds.generate import IMG2IMG, TXT2IMG
from modules.processing.kinds.resolve import MissingNetworks
from modules.schema.catalog import Catalog, Checkpoint, Embedding, Lora, Vae
from modules.schema.request import Img2ImgRequest, Txt2ImgRequest
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


def test_missing_loras_can_be_left_out() -> None:
    request = Txt2ImgRequest(prompt="a <lora:gone:1> fox <lora:fur:1>")
    with pytest.raises(MissingNetworks) as missing:
        admission().admitted(TXT2IMG, request, Settings())
    assert missing.value.names == {"gone"}
    spec = admission().admitted(TXT2IMG, request, Settings(), leave_out_missing=True)
    assert (spec.request.prompt, spec.resources.loras) == ("a  fox <lora:fur:1>", (FUR,))
    exact = admission().admitted(TXT2IMG, request, Settings(compatibility=EXACT))
    assert (exact.request.prompt, exact.resources.loras) == (request.prompt, (FUR,))
