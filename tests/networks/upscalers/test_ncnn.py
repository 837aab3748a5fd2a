"""ncnn's files, loaded into torch."""

import struct
from pathlib import Path

import numpy as np
import pytest

from modules.base.errors import WebuiError
from modules.networks.upscalers.ncnn import read_layers

PARAM = """7767517
4 4
Input                    input.1     0 1 data
Convolution              Conv_0      1 1 data 54 0=2 1=3 4=1 5=1 6=54
PReLU                    PRelu_1     1 1 54 56 0=2
Convolution              Conv_2      1 1 56 57 0=3 1=1 6=6
"""
HALF = np.arange(54, dtype=np.float16).reshape(2, 3, 3, 3) / 8
BIAS = np.array([0.1, -0.2], np.float32)
SLOPES = np.array([0.3, 0.4], np.float32)
FULL = np.arange(6, dtype=np.float32).reshape(3, 2, 1, 1) / 3
HALF_TAG, FULL_TAG = struct.pack("<I", 0x01306B47), struct.pack("<I", 0)
BINARY = HALF_TAG + HALF.tobytes() + BIAS.tobytes() + SLOPES.tobytes() + FULL_TAG + FULL.tobytes()


def files(folder: Path, param: str = PARAM, binary: bytes = BINARY) -> tuple[Path, Path]:
    (folder / "net.param").write_text(param)
    (folder / "net.bin").write_bytes(binary)
    return folder / "net.param", folder / "net.bin"


def test_layers_come_in_the_files_order_in_half_and_full_precision(tmp_path: Path) -> None:
    first, slopes, last = read_layers(*files(tmp_path))
    np.testing.assert_array_equal(first.weight, HALF.astype(np.float32))
    assert first.bias is not None
    np.testing.assert_array_equal(first.bias, BIAS)
    np.testing.assert_array_equal(slopes.weight, SLOPES)
    np.testing.assert_array_equal(last.weight, FULL)
    assert last.bias is None


def test_half_precision_is_padded_to_four_bytes(tmp_path: Path) -> None:
    param = "7767517\n1 1\nConvolution a 1 1 x y 0=1 1=1 5=1 6=3\n"
    binary = HALF_TAG + np.array([1, 2, 3], np.float16).tobytes() + b"\0\0" + np.array([5], np.float32).tobytes()
    [layer] = read_layers(*files(tmp_path, param, binary))
    assert layer.weight.tolist() == [[[[1.0]], [[2.0]], [[3.0]]]]
    assert layer.bias is not None
    assert layer.bias.tolist() == [5.0]


@pytest.mark.parametrize(
    ("param", "binary", "sentence"),
    [
        ("<html>", BINARY, "net.param: it is not ncnn's."),
        ("", BINARY, "net.param: it is not ncnn's."),
        (PARAM, BINARY[:-1], "net.bin: it is cut short."),
        (PARAM, b"", "net.bin: it is cut short."),
        (PARAM, BINARY + b"\0\0\0\0", "net.bin: it holds more numbers than its layers take."),
        (PARAM, b"\x01\0\0\0" + BINARY[4:], "net.bin: its weights are stored in a way that is not read here"),
        (PARAM.replace("6=54", "6=53"), BINARY, "net.param: a line cannot be read"),
        (PARAM.replace("6=54", "6=-54"), BINARY, "net.param: a line cannot be read"),
        (PARAM.replace("0=2 1=3", "0=2 1=a"), BINARY, "net.param: a line cannot be read"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, param: str, binary: bytes, sentence: str) -> None:
    with pytest.raises(WebuiError, match=sentence.replace(".", r"\.")):
        read_layers(*files(tmp_path, param, binary))
