"""Reduces a folder of recordings of A1111 to what the tests need: `python tests/parity/compact.py FOLDER`.

Writes beside this file `data/cases.json` (requests and infotexts), `data/cases.npz` (for each case its pictures as
`<case>.image<i>`, (H, W, 3) uint8, and for each sampling pass the final latents as `<case>.final<k>`) and
`data/inputs/`.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DATA = Path(__file__).parent / "data"


def compact(source: Path) -> None:
    recorded = json.loads((source / "cases.json").read_text())["cases"]
    cases: list[dict[str, Any]] = []
    arrays: dict[str, NDArray[Any]] = {}
    for case in sorted(recorded, key=lambda case: case["name"]):
        name = case["name"]
        cases.append(
            {
                "name": name,
                "endpoint": case["endpoint"],
                "request": case["request"],
                "infotexts": [image["parameters"] for image in case["images"]],
            }
        )
        for i, image in enumerate(case["images"]):
            arrays[f"{name}.image{i}"] = np.array(Image.open(source / image["file"]).convert("RGB"))
        for k, latents in enumerate(finals(source / case["npz"])):
            arrays[f"{name}.final{k}"] = latents
    (DATA / "inputs").mkdir(parents=True, exist_ok=True)
    for picture in (source / "inputs").iterdir():
        shutil.copyfile(picture, DATA / "inputs" / picture.name)
    text = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    (DATA / "cases.json").write_text(f"[\n{text}\n]\n", encoding="utf-8")
    np.savez_compressed(DATA / "cases.npz", **arrays)  # pyright: ignore[reportArgumentType]


def finals(path: Path) -> list[NDArray[np.float32]]:
    """The final latents of each sampling pass; a hires pass records pixels, and its last prediction is the latent."""
    found: list[NDArray[np.float32]] = []
    with np.load(path) as file:
        for k in range(100):
            if f"p{k}_calls_x" not in file.files and f"p{k}_noise" not in file.files:
                break
            name = f"p{k}_final_latents"
            final: NDArray[np.float32] | None = file[name] if name in file.files else None
            if final is not None and final.ndim == 4 and final.shape[1] == 4:
                found.append(final)
            elif f"p{k}_calls_out" in file.files:
                found.append(file[f"p{k}_calls_out"][-1])
    return found


if __name__ == "__main__":
    compact(Path(sys.argv[1]))
