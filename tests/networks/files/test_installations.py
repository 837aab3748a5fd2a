"""The folders of A1111's, Forge's and ComfyUI's installations."""

from pathlib import Path

import pytest

from modules.base.errors import WebuiError
from modules.networks.files import installations
from modules.networks.files.installations import CHECKPOINTS, EMBEDDINGS, LORAS, TEXT_ENCODERS, VAES, Installation


def folders_in(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
    return root


def shown(found: Installation, kind: str) -> list[str]:
    return [str(path.relative_to(found.root)) for path in found.folders.get(kind, ())]


def a1111(root: Path, *more: str) -> Path:
    folders_in(root, "models/Stable-diffusion", "models/Lora", "models/VAE", "embeddings", *more)
    (root / "webui.py").write_text("")
    return root


def test_an_a1111_installation(tmp_path: Path) -> None:
    a1111(tmp_path, "models/LyCORIS")
    (tmp_path / "styles.csv").write_text("name,prompt,negative_prompt\n")
    (tmp_path / "config.json").write_text("{}")
    found = installations.a1111(tmp_path)
    assert shown(found, CHECKPOINTS) == ["models/Stable-diffusion"]
    assert shown(found, LORAS) == ["models/Lora", "models/LyCORIS"]
    assert shown(found, EMBEDDINGS) == ["embeddings"]
    assert shown(found, VAES) == ["models/VAE"]
    assert found.styles == (tmp_path / "styles.csv",)
    assert found.settings == tmp_path / "config.json"
    assert found.remarks == ()


def test_the_packaged_versions_have_the_program_one_folder_down(tmp_path: Path) -> None:
    a1111(tmp_path / "pack" / "webui")
    assert installations.a1111(tmp_path / "pack").root == tmp_path / "pack" / "webui"
    folders_in(tmp_path / "portable", "ComfyUI/models/checkpoints")
    assert installations.comfy(tmp_path / "portable").root == tmp_path / "portable" / "ComfyUI"


BATCH = r"""@echo off
rem set COMMANDLINE_ARGS=--ckpt-dir old
set PYTHON=
set MODELS=big disk
set COMMANDLINE_ARGS=--xformers --ckpt-dir "%MODELS%/sd" ^
 --lora-dir=more --medvram --styles-file mine.csv
call webui.bat
"""
SHELL = """#!/bin/bash
#export COMMANDLINE_ARGS="--ckpt-dir old"
MODELS="big disk"
export COMMANDLINE_ARGS="--xformers --ckpt-dir \\"$MODELS/sd\\" --lora-dir=more \\
 --medvram --styles-file mine.csv"
"""


@pytest.mark.parametrize(("name", "script"), [("webui-user.bat", BATCH), ("webui-user.sh", SHELL)])
def test_the_flags_of_its_start_script_are_followed(tmp_path: Path, name: str, script: str) -> None:
    a1111(tmp_path, "big disk/sd", "more")
    (tmp_path / "mine.csv").write_text("name,prompt,negative_prompt\n")
    (tmp_path / name).write_text(script)
    found = installations.a1111(tmp_path)
    assert shown(found, CHECKPOINTS) == ["models/Stable-diffusion", "big disk/sd"]
    assert shown(found, LORAS) == ["models/Lora", "more"]
    assert found.styles == (tmp_path / "mine.csv",)
    assert found.remarks == ()


def test_forge_with_the_models_of_an_a1111_and_several_folders_in_one_flag(tmp_path: Path) -> None:
    home = a1111(tmp_path / "a1111")
    forge = a1111(tmp_path / "forge", "models/text_encoder", "one", "two")
    (forge / "webui-user.sh").write_text(
        f"export COMMANDLINE_ARGS='--forge-ref-a1111-home {home} --vae-dirs one two --cuda-malloc'\n"
    )
    found = installations.a1111(forge)
    assert found.folders[CHECKPOINTS] == (forge / "models/Stable-diffusion", home / "models/Stable-diffusion")
    assert found.folders[EMBEDDINGS] == (forge / "embeddings", home / "embeddings")
    assert found.folders[VAES][-2:] == (forge / "one", forge / "two")
    assert shown(found, TEXT_ENCODERS) == ["models/text_encoder"]


def test_a_data_folder_elsewhere(tmp_path: Path) -> None:
    a1111(tmp_path / "program")
    folders_in(tmp_path / "data", "models/Stable-diffusion", "embeddings")
    (tmp_path / "data" / "config.json").write_text("{}")
    (tmp_path / "program" / "webui-user.sh").write_text('export COMMANDLINE_ARGS="--data-dir ../data"\n')
    found = installations.a1111(tmp_path / "program")
    assert found.folders[CHECKPOINTS] == (tmp_path / "data/models/Stable-diffusion",)
    assert found.folders[EMBEDDINGS] == (tmp_path / "data/embeddings",)
    assert found.settings is not None
    assert found.settings.resolve() == tmp_path / "data" / "config.json"


def test_a_folder_that_its_flags_name_and_that_is_not_here_is_a_remark(tmp_path: Path) -> None:
    a1111(tmp_path)
    (tmp_path / "webui-user.sh").write_text('export COMMANDLINE_ARGS="--vae-dir /nowhere/vae"\n')
    found = installations.a1111(tmp_path)
    assert shown(found, VAES) == ["models/VAE"]
    assert found.remarks == ("--a1111: --vae-dir /nowhere/vae is not a folder here, so nothing is read from it.",)


LISTED = """
a111:
    base_path: {a1111}
    checkpoints: models/Stable-diffusion
    loras: |
        models/Lora
        models/LyCORIS

        nowhere
    unknown_kind: models/other
comfyui:
    base_path: ~
    is_default: true
    vae: {best}
    clip: 7
note: not a group
"""


def test_comfyui_and_the_folders_that_it_lists(tmp_path: Path) -> None:
    comfy = folders_in(tmp_path / "comfy", "models/checkpoints", "models/vae", "models/clip", "models/loras")
    home = a1111(tmp_path / "a1111", "models/LyCORIS")
    best = folders_in(tmp_path / "best")
    best.mkdir()
    (comfy / "extra_model_paths.yaml").write_text(LISTED.format(a1111="../a1111", best=best))
    found = installations.comfy(comfy)
    assert found.folders[CHECKPOINTS] == (comfy / "models/checkpoints", home / "models/Stable-diffusion")
    assert found.folders[LORAS] == (comfy / "models/loras", home / "models/Lora", home / "models/LyCORIS")
    assert found.folders[VAES] == (best, comfy / "models/vae")
    assert shown(found, TEXT_ENCODERS) == ["models/clip"]
    assert found.remarks == ()
    alone = installations.comfy(comfy / "extra_model_paths.yaml")
    assert alone.folders[CHECKPOINTS] == (home / "models/Stable-diffusion",)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a: [", "line 1 is not YAML"),
        (b"- a\n- b\n", "has no groups of folders"),
        (b"a: " * 400_000, "larger than 1 MB"),
        (b"!!python/object/apply:os.system ['true']", "is not YAML"),
        (b"[" * 100_000, "is not YAML"),
    ],
)
def test_a_list_that_cannot_be_read_costs_only_itself(tmp_path: Path, content: bytes, sentence: str) -> None:
    folders_in(tmp_path, "models/checkpoints")
    (tmp_path / "extra_model_paths.yaml").write_bytes(content)
    found = installations.comfy(tmp_path)
    assert shown(found, CHECKPOINTS) == ["models/checkpoints"]
    assert len(found.remarks) == 1
    assert sentence in found.remarks[0]


def test_another_folder_is_one_sentence_with_the_cure(tmp_path: Path) -> None:
    a1111(tmp_path / "a1111")
    folders_in(tmp_path / "comfy", "models/checkpoints")
    with pytest.raises(WebuiError, match=r"there is no A1111 or Forge installation here; give the folder that holds"):
        installations.a1111(tmp_path)
    with pytest.raises(WebuiError, match=r"there is no ComfyUI installation here"):
        installations.comfy(tmp_path / "a1111")
    with pytest.raises(WebuiError, match=rf"expected the folder above it; use --a1111 {tmp_path}/a1111\."):
        installations.a1111(tmp_path / "a1111" / "models")
    with pytest.raises(WebuiError, match=r"use --comfy"):
        installations.comfy(tmp_path / "comfy" / "models" / "checkpoints")
