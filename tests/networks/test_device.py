from pathlib import Path

import pytest
import torch

from modules.base.errors import WebuiError
from modules.networks import device
from modules.networks.device import (
    Placement,
    choose_placement,
    container_bytes,
    describe,
    is_out_of_memory,
    require_finite,
    threads,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("bf16", "precision", "dtype", "said"),
    [
        (True, "autocast", torch.bfloat16, "CPU, bf16"),
        (False, "autocast", torch.float32, "CPU, fp32"),
        (True, "full", torch.float32, "CPU, fp32"),
    ],
)
def test_a_cpu_takes_bf16_where_it_has_it(
    bf16: bool, precision: device.Precision, dtype: torch.dtype, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: bf16)
    place = choose_placement(use_cpu=True, precision=precision)
    assert place == Placement(CPU, dtype, torch.float32, dtype)
    assert describe(place) == said


@pytest.mark.parametrize(
    ("capability", "precision", "dtype"),
    [((8, 0), "autocast", torch.float16), ((6, 1), "autocast", torch.float32), ((9, 0), "full", torch.float32)],
)
def test_cuda_takes_fp16_from_capability_7(
    capability: tuple[int, int], precision: device.Precision, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    assert choose_placement(precision=precision, index=1) == Placement(torch.device("cuda", 1), dtype, dtype, dtype)
    assert choose_placement(use_cpu=True, precision="full").device == CPU


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: not enough memory: you tried"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("not enough memory"), False),
    ],
)
def test_a_lack_of_memory_is_known_by_its_words(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_told_with_a_cure(bad: float) -> None:
    x = torch.ones(2, 3)
    half = Placement(CPU, torch.float16, torch.float16, torch.float16)
    assert require_finite(x, "The UNet", half) is x
    x[1, 1] = bad
    with pytest.raises(WebuiError, match=r"The UNet produced NaN in float16\..*--precision full"):
        require_finite(x, "The UNet", half)
    full = Placement(CPU, torch.float32, torch.float32, torch.float32)
    with pytest.raises(WebuiError, match="The checkpoint may be damaged"):
        require_finite(x, "The UNet", full)


@pytest.mark.parametrize(("wanted", "least"), [("3", 3), ("", 1), ("none", 1), ("0", 1)])
def test_threads_are_those_wished_for_or_the_cores(wanted: str, least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    assert threads() == least if wanted == "3" else threads() >= least


def test_a_container_leaves_what_its_narrowest_limit_leaves(tmp_path: Path) -> None:
    inside = tmp_path / "proc"
    root = tmp_path / "cgroup"
    assert container_bytes(inside, root) is None
    inside.write_text("0::/pod/studio\n")
    for group, limit, used, cached in (("pod", "5000", 2000, 500), ("pod/studio", "max", 1500, 500), ("", "9", 9, 9)):
        folder = root / group
        folder.mkdir(parents=True, exist_ok=True)
        if group:  # the root of all groups has no limit
            (folder / "memory.max").write_text(f"{limit}\n")
            (folder / "memory.current").write_text(f"{used}\n")
            (folder / "memory.stat").write_text(f"anon 1000\ninactive_file {cached}\n")
    assert container_bytes(inside, root) == 5000 - 2000 + 500
    (root / "pod/studio/memory.max").write_text("1600")
    assert container_bytes(inside, root) == 1600 - 1500 + 500
