"""Pictures enlarged by a network from a file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from modules.base.errors import WebuiError
from modules.networks.device import Placement
from modules.networks.files.upscalers import find_upscalers
from modules.networks.upscalers.enlarger import Enlarger
from modules.networks.upscalers.spandrel_models import load
from modules.schema.upscalers import Upscaler
from tests.networks.upscalers.test_networks import tiny_esrgan

CPU = Placement(torch.device("cpu"), torch.bfloat16, torch.float32, torch.bfloat16)


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    channels = len(mode)
    values = np.random.default_rng(width * 100 + height).integers(0, 256, (height, width, channels), np.uint8)
    return Image.fromarray(values, mode)


@pytest.fixture
def tiny(tmp_path: Path) -> Upscaler:
    save_file(tiny_esrgan(), tmp_path / "4x-tiny.safetensors")
    return Upscaler("4x-tiny", path=tmp_path / "4x-tiny.safetensors")


def test_one_pass_is_the_networks_own_forward_rounded(tiny: Upscaler) -> None:
    source = picture(13, 9)
    network = load(tiny_esrgan(), "tiny")
    x = torch.from_numpy(np.array(source)).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        expected = (network.model(x).clamp(0, 1)[0].permute(1, 2, 0) * 255).round().byte().numpy()
    result = Enlarger(CPU).enlarged(tiny, source, (52, 36))
    np.testing.assert_array_equal(np.array(result), expected)


@pytest.mark.parametrize(
    ("target", "passes", "size"),
    [
        ((16, 8), 1, (64, 32)),
        ((32, 16), 1, (64, 32)),
        ((64, 32), 1, (64, 32)),
        ((80, 40), 2, (256, 128)),
        ((8, 4), 0, (16, 8)),
    ],
)
def test_the_network_is_applied_as_often_as_in_a1111(
    tiny: Upscaler, target: tuple[int, int], passes: int, size: tuple[int, int]
) -> None:
    heard: list[float] = []
    assert Enlarger(CPU).enlarged(tiny, picture(16, 8), target, heard.append).size == size
    assert heard == [number / passes for number in range(passes)]


def test_whoever_listens_may_stop_it(tiny: Upscaler) -> None:
    def stop(share: float) -> None:
        raise InterruptedError

    [row] = Enlarger(CPU).functions([tiny], stop)
    assert callable(row.function)
    with pytest.raises(InterruptedError):
        row.function(picture(8, 8), (16, 16))


def test_alpha_is_kept(tiny: Upscaler) -> None:
    source = picture(8, 8, "RGBA")
    result = Enlarger(CPU).enlarged(tiny, source, (16, 16))
    assert result.mode == "RGBA"
    expected = source.getchannel("A").resize((32, 32), Image.Resampling.LANCZOS)
    assert result.getchannel("A").tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "nested",
    [
        lambda state: state,
        lambda state: {"params_ema": state, "params": {}},
        lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
    ],
)
def test_weights_are_found_wherever_trainers_put_them(tmp_path: Path, nested: Any, tiny: Upscaler) -> None:
    torch.save(nested(tiny_esrgan()), tmp_path / "other.pth")
    other = Upscaler("other", path=tmp_path / "other.pth")
    source = picture(8, 8)
    results = [Enlarger(CPU).enlarged(file, source, (32, 32)).tobytes() for file in (tiny, other)]
    assert results[0] == results[1]


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("this runs",))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "empty"),
        (b"<html>", "."),
        ({"a": Evil()}, "."),
        ({"params": {}}, "holds no weights"),
        ({"a": 1}, "weights"),
    ],
)
def test_what_is_no_upscaler_is_one_sentence(
    tmp_path: Path, content: Any, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(WebuiError, match=sentence) as raised:
        Enlarger(CPU).enlarged(Upscaler("odd", path=path), picture(8, 8), (16, 16))
    assert "odd" in str(raised.value)
    assert "this runs" not in capsys.readouterr().out


def test_files_are_found_with_their_scales_and_reasons(tmp_path: Path) -> None:
    for name in ("ESRGAN/4x-UltraSharp.pth", "ESRGAN/2x_small.safetensors", "DAT/photo.onnx", "ESRGAN/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = {each.name: each for each in find_upscalers([tmp_path / "ESRGAN", tmp_path / "DAT"])}
    assert list(found)[:3] == ["R-ESRGAN 4x+", "R-ESRGAN 4x+ Anime6B", "R-ESRGAN AnimeVideo"]
    assert (found["4x-UltraSharp"].factor, found["2x_small"].factor, found["4x-UltraSharp"].reason) == (4, 2, "")
    assert "ONNX" in found["photo"].reason
    with pytest.raises(WebuiError, match="ONNX"):
        Enlarger(CPU).enlarged(found["photo"], picture(8, 8), (16, 16))
    assert "notes" not in found
