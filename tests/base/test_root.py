"""The program's own folder is computed in one place."""

import re

from modules.base.root import CONFIGS, EXTENSIONS, ROOT


def test_the_root_is_the_folder_of_webui_and_holds_what_ships() -> None:
    assert (ROOT / "webui.py").is_file()
    assert CONFIGS.is_dir()
    assert EXTENSIONS.is_dir()


def test_no_other_module_climbs_out_of_its_own_folder() -> None:
    climbs = re.compile(r"__file__\)(\.resolve\(\)|\.absolute\(\))?(\.parents\[[1-9]|\.parent\.parent)")
    files = [*(ROOT / "modules").rglob("*.py"), ROOT / "webui.py", ROOT / "launch.py"]
    found = [
        path.relative_to(ROOT).as_posix()
        for path in files
        if climbs.search(path.read_text("utf-8")) and "starter" not in path.parts
    ]
    assert found == ["modules/base/root.py"]
