"""Which folders contain an artist's models."""

from pathlib import Path

from modules.flags.command_line import parse
from modules.server.folders import ModelFolders
from modules.server.model_files import ModelFiles
from tests.tiny import write_tiny_checkpoint


def test_models_of_other_programs_are_found_behind_ours_and_nothing_is_written(tmp_path: Path) -> None:
    a1111, comfy, data = tmp_path / "a1111", tmp_path / "comfy", tmp_path / "data"
    for folder in (a1111 / "models" / "Stable-diffusion", comfy / "models" / "checkpoints"):
        folder.mkdir(parents=True)
        write_tiny_checkpoint(folder / f"{folder.name}.safetensors")
    (a1111 / "styles.csv").write_text("name,prompt,negative_prompt\n")
    (a1111 / "config.json").write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    flags = parse(["--data-dir", str(data), "--a1111", str(a1111), "--comfy", str(comfy)], {})
    folders = ModelFolders.of(flags)
    found = ModelFiles(folders).scan().checkpoints
    names = [each.name for each in found]
    assert "Stable-diffusion.safetensors" in names
    assert "checkpoints.safetensors" in names
    assert folders.checkpoints[0] == data / "models" / "Stable-diffusion"
    theirs = (a1111 / "models" / "Stable-diffusion", comfy / "models" / "checkpoints")
    assert folders.checkpoints[-2:] == theirs
    assert set(theirs) < set(folders.all)
    assert folders.styles == (a1111 / "styles.csv",)
    assert folders.settings == a1111 / "config.json"
    assert sorted(tmp_path.rglob("*")) == before
