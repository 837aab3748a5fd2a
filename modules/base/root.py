"""The folder of the program, and the files that ship with it. Standard library only, for the launcher."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # the folder of webui.py
CONFIGS = ROOT / "configs"  # model layouts, CLIP's vocabulary, fonts
EXTENSIONS = ROOT / "extensions"  # the built-in ones
