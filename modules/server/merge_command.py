"""`webui.py merge`: merges checkpoints from the command line, without a server."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, get_args

from modules.base import logs
from modules.base.errors import WebuiError
from modules.base.events import Event, Failed, FileSaved, Finished, Staged, Stepped, Stop, Warned
from modules.base.paths import printable
from modules.flags.command_line import parse
from modules.networks.files.listing import HashCache
from modules.networks.merging.recipe import Method, Precision
from modules.processing.kinds.merge import MERGE, NAME_FIELDS, ConfigSource
from modules.schema.catalog import OWN_VAE, Catalog, Checkpoint, Lora, Vae
from modules.server.folders import HASHES, ModelFolders
from modules.server.model_files import ModelFiles

INTERRUPTED: Final = 130
_METHODS: Final = {name.lower().replace(" ", "-"): name for name in get_args(Method)}


def main(argv: Sequence[str]) -> int:
    """Exit code 0 for success, 1 for a mistake, 130 for Ctrl+C, after which the next run resumes."""
    try:
        options, rest = _reader().parse_known_args(list(argv))
        flags = parse(rest)
        logs.set_up(logging.WARNING)
        request = MERGE.parse(_values(options))
        # Not at the top: the server process never imports torch, and this process does nothing else.
        from modules.processing.merging import Merger  # noqa: PLC0415

        folders = ModelFolders.of(flags)
        find = _Finder(ModelFiles(folders).scan())
        merger = Merger(find, HashCache(flags.data_dir / HASHES), folders.checkpoints[0])
        code = 1
        for event in merger.run(request, lambda: Stop.NONE):
            code = _report(event, code)
    except WebuiError as error:
        sys.stderr.write(f"{printable(str(error))}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. Run the same command again to resume.\n")
        return INTERRUPTED
    return code


class _Finder:
    """Finds models by the names in the lists, or by file path."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def checkpoint(self, name: str) -> Checkpoint:
        path = Path(name).expanduser()
        return Checkpoint(path.name, path.absolute()) if path.is_file() else self._catalog.checkpoint(name)

    def lora(self, name: str) -> Lora:
        return self._catalog.lora(name)

    def vae(self, name: str) -> Vae | None:
        path = Path(name).expanduser()
        return Vae(path.name, path.absolute()) if path.is_file() else self._catalog.vae(name)


def _reader() -> argparse.ArgumentParser:
    new = argparse.ArgumentParser(
        "webui.py merge",
        description="Merge checkpoints into a new one. Names are those of the page's list, or files. The server's "
        "flags for folders may follow.",
        allow_abbrev=False,
    )
    new.add_argument("models", nargs="+", metavar="MODEL", help="checkpoints A, B and C")
    new.add_argument("--method", choices=sorted(_METHODS), default="weighted-sum", help="default: %(default)s")
    new.add_argument("--multiplier", "-m", type=float, default=0.3, metavar="M", help="of B (default: %(default)s)")
    new.add_argument("--multiplier-c", type=float, default=0.0, metavar="N", help="of C, in a triple sum")
    new.add_argument("--block-weights", default="", metavar="NUMBERS", help="26, or 20 or 21 for XL, with commas")
    new.add_argument("--save-as", choices=get_args(Precision), default="same", help="number type of the weights")
    new.add_argument("--name", default="", help="name of the new file, without suffix")
    new.add_argument("--vae", default=OWN_VAE, help="VAE to put into the new file")
    new.add_argument("--lora", default="", metavar="TAGS", help="LoRAs to bake in, as in a prompt: '<lora:name:0.8>'")
    new.add_argument("--discard", default="", metavar="REGEX", help="discard tensors whose names match")
    new.add_argument(
        "--config", choices=get_args(ConfigSource), default="A, B or C", help="the checkpoint whose .yaml is copied"
    )
    new.add_argument("--metadata", default="{}", metavar="JSON", help="notes to add to the file")
    new.add_argument("--no-recipe", action="store_true", help="do not record what was merged; avoids hashing the files")
    new.add_argument("--no-metadata", action="store_true", help="write no notes at all")
    new.add_argument("--overwrite", action="store_true", help="replace a file of this name")
    return new


def _values(options: argparse.Namespace) -> dict[str, Any]:
    if len(options.models) > len(NAME_FIELDS):
        raise WebuiError(
            f"{len(options.models)} models, expected at most {len(NAME_FIELDS)}.", "Merge the result again."
        )
    return {
        **dict(zip(NAME_FIELDS, options.models, strict=False)),
        "interp_method": _METHODS[options.method],
        "multiplier": options.multiplier,
        "multiplier_c": options.multiplier_c,
        "block_weights": options.block_weights,
        "save_as": options.save_as,
        "custom_name": options.name,
        "bake_in_vae": options.vae,
        "loras": options.lora,
        "discard_weights": options.discard,
        "config_source": options.config,
        "save_metadata": not options.no_metadata,
        "add_merge_recipe": not options.no_recipe,
        "metadata_json": options.metadata,
        "overwrite": options.overwrite,
    }


def _report(event: Event, code: int) -> int:
    """Print an event. Returns the exit code so far."""
    match event:
        case Staged():
            sys.stderr.write(f"{printable(event.stage)}\n")
        case Stepped():
            sys.stderr.write(f"\r{event.step:3d} %" + ("\n" if event.step == event.steps else ""))
        case Warned():
            sys.stderr.write(f"{printable(event.message)}\n")
        case FileSaved():
            sys.stdout.write(f"{printable(event.name)} ({event.size / 1e9:.2f} GB)\n")
        case Failed():
            raise WebuiError(event.message, event.hint, event.field)
        case Finished():
            return 0
        case _:
            pass
    return code
