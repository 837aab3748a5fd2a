"""The command line: A1111's names where they mean the same here, read once into a frozen `Flags`.

Standard library only: the launcher reads the flags before anything is installed.
"""

import argparse
import difflib
import errno
import ipaddress
import os
import re
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NoReturn

from modules.errors import WebuiError

ROOT = Path(__file__).resolve().parent.parent
PORT = 7860  # A1111's, which bookmarks and scripts know
LOGLEVELS = ("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG")

_ATTENTION = "attention is PyTorch's scaled_dot_product_attention, which picks the fastest way by itself"
_MEMORY = "memory needs no flag; a decode that does not fit is repeated in tiles"
_NO_DOWNLOAD = "Palimpsest downloads no models at all"
_LOCAL = "Palimpsest answers only on this machine, as it has no passwords yet; reach it by an SSH tunnel"
_NO_CHECK = "the launcher checks only what it needs, and does nothing when nothing changed"

# A1111's flags that guides tell people to type and that need nothing here: (words after the flag, what it means here).
NOT_NEEDED: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "--xformers": (0, _ATTENTION),
        "--force-enable-xformers": (0, _ATTENTION),
        "--xformers-flash-attention": (0, _ATTENTION),
        "--opt-sdp-attention": (0, _ATTENTION),
        "--opt-sdp-no-mem-attention": (0, _ATTENTION),
        "--opt-sub-quad-attention": (0, _ATTENTION),
        "--sub-quad-q-chunk-size": (1, _ATTENTION),
        "--sub-quad-kv-chunk-size": (1, _ATTENTION),
        "--sub-quad-chunk-threshold": (1, _ATTENTION),
        "--opt-split-attention": (0, _ATTENTION),
        "--opt-split-attention-v1": (0, _ATTENTION),
        "--opt-split-attention-invokeai": (0, _ATTENTION),
        "--disable-opt-split-attention": (0, _ATTENTION),
        "--medvram": (0, _MEMORY),
        "--medvram-sdxl": (0, _MEMORY),
        "--lowvram": (0, _MEMORY),
        "--lowram": (0, _MEMORY),
        "--disable-model-loading-ram-optimization": (0, _MEMORY),
        "--opt-channelslast": (0, "the memory format is chosen by itself"),
        "--upcast-sampling": (0, "precision is chosen to suit the device; --precision full computes all in 32 bit"),
        "--no-half-vae": (0, "precision is chosen to suit the device; --precision full computes all in 32 bit"),
        "--api": (0, "the HTTP interface needs no flag"),
        "--no-gradio-queue": (0, "jobs have a queue of their own"),
        "--gradio-queue": (0, "jobs have a queue of their own"),
        "--skip-torch-cuda-test": (0, "the CPU is used where there is no GPU"),
        "--skip-python-version-check": (0, _NO_CHECK),
        "--skip-version-check": (0, _NO_CHECK),
        "--skip-prepare-environment": (0, _NO_CHECK),
        "--update-check": (0, "Palimpsest never looks for updates by itself"),
        "--no-download-sd-model": (0, _NO_DOWNLOAD),
        "--do-not-download-clip": (0, _NO_DOWNLOAD),
        "--no-hashing": (0, "a model is hashed once, then remembered"),
    }
)

_NOT_OFFERED: Mapping[str, str] = MappingProxyType(
    {
        "--listen": _LOCAL,
        "--share": _LOCAL,
        "--ngrok": _LOCAL,
        "--gradio-auth": "Palimpsest has no passwords yet and answers only on this machine; leave the flag out",
        "--api-auth": "Palimpsest has no passwords yet and answers only on this machine; leave the flag out",
        "--disable-safe-unpickle": "checkpoints are never unpickled unsafely; convert them to .safetensors",
    }
)


@dataclass(frozen=True)
class Flags:
    """What the command line said, resolved: every path is absolute, every default filled in."""

    port: int = PORT
    server_name: str = "127.0.0.1"
    data_dir: Path = ROOT
    models_dir: Path = ROOT / "models"
    ckpt: Path | None = None  # the checkpoint to start with, instead of the one used last
    ckpt_dir: Path | None = None  # searched for checkpoints besides models_dir/Stable-diffusion
    precision: Literal["auto", "full"] = "auto"  # full: all in 32 bit floats
    use_cpu: bool = False
    theme: Literal["auto", "light", "dark"] = "auto"  # auto: as the browser wishes
    autolaunch: bool = True
    loglevel: str = "INFO"
    remarks: tuple[str, ...] = ()  # one line for each flag that was taken but means nothing, or another thing, here

    @property
    def url(self) -> str:
        """Where the page is, for this machine's browser."""
        host = f"[{self.server_name}]" if ":" in self.server_name else self.server_name
        return f"http://{host}:{self.port}"

    @property
    def outputs_dir(self) -> Path:
        return self.data_dir / "outputs"

    @property
    def extensions_dir(self) -> Path:
        return self.data_dir / "extensions"

    @property
    def settings_file(self) -> Path:
        return self.data_dir / "config.json"


class Parser(argparse.ArgumentParser):
    """argparse whose complaints are one sentence in a `WebuiError`, not a usage text and an exit."""

    def error(self, message: str) -> NoReturn:
        raise WebuiError(f"{message};", "--help lists all flags.")


class _Remark(argparse.Action):
    """Takes a flag that needs nothing here and notes what it means."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        assert option_string is not None
        namespace.remarks = [*namespace.remarks, f"{option_string} does nothing here: {NOT_NEEDED[option_string][1]}."]


class _NotOffered(argparse.Action):
    """Refuses a flag of A1111's by name, with the reason."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        assert option_string is not None
        raise WebuiError(f"{option_string} is not offered: {_NOT_OFFERED[option_string]}.")


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise WebuiError(f"--port {text}: expected a number from 1 to 65535.", field="--port")
    return int(text)


def _loopback(text: str) -> str:
    try:
        ours = text == "localhost" or ipaddress.ip_address(text).is_loopback
    except ValueError:
        ours = False
    if not ours:
        raise WebuiError(
            f"--server-name {text}: expected 127.0.0.1, ::1 or localhost; {_LOCAL}.", field="--server-name"
        )
    return text


def parser() -> argparse.ArgumentParser:
    """The parser of webui.py's command line; `--help` prints and exits, every mistake raises `WebuiError`."""
    new = Parser(prog="webui.py", description="Palimpsest, img2img in the browser.", allow_abbrev=False)
    new.set_defaults(remarks=[])
    net = new.add_argument_group("page")
    net.add_argument("--port", type=_port, default=PORT, metavar="N", help="port of the page (default: %(default)s)")
    net.add_argument(
        "--server-name",
        type=_loopback,
        default="127.0.0.1",
        metavar="HOST",
        help="address of this machine to answer on (default: %(default)s)",
    )
    net.add_argument(
        "--theme", choices=("auto", "light", "dark"), default="auto", help="colours (default: as the browser wishes)"
    )
    net.add_argument(
        "--autolaunch",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="open the browser (default: yes, where there is a screen)",
    )
    where = new.add_argument_group("folders and files")
    where.add_argument(
        "--data-dir",
        type=Path,
        default=ROOT,
        metavar="DIR",
        help="where outputs, models, extensions and config.json are (default: beside webui.py)",
    )
    where.add_argument("--models-dir", type=Path, metavar="DIR", help="where models are (default: DATA_DIR/models)")
    where.add_argument("--ckpt", type=Path, metavar="FILE", help="checkpoint to start with")
    where.add_argument("--ckpt-dir", type=Path, metavar="DIR", help="one more folder of checkpoints")
    how = new.add_argument_group("computing")
    how.add_argument(
        "--precision",
        choices=("auto", "full", "half", "autocast"),
        default="auto",
        help="full: all in 32 bit floats (default: to suit the device)",
    )
    how.add_argument("--no-half", action="store_true", help="the same as --precision full")
    how.add_argument(
        "--use-cpu",
        nargs="*",
        default=None,
        metavar="PART",
        help="compute on the CPU even if there is a GPU; A1111's word 'all' may follow",
    )
    how.add_argument(
        "--loglevel",
        type=str.upper,
        choices=LOGLEVELS,
        default="INFO",
        help="how much is logged (default: %(default)s)",
    )
    for flag, (words, _) in NOT_NEEDED.items():
        new.add_argument(flag, action=_Remark, nargs=words, dest="remarks", help=argparse.SUPPRESS)
    for flag in _NOT_OFFERED:
        new.add_argument(flag, action=_NotOffered, nargs="?", help=argparse.SUPPRESS)
    return new


def parse(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> Flags:
    """The flags in `argv` (without the program's name); relative paths count from the working directory.

    Raises `WebuiError` with one sentence for an unknown flag, a bad value, or a file or folder that is not there.

    >>> parse(["--port", "8000", "--no-half"], {}).precision
    'full'
    """
    reader = parser()
    said, unknown = reader.parse_known_args(list(argv))
    if unknown:
        raise WebuiError(_unknown(unknown[0], reader))
    remarks: list[str] = list(said.remarks)
    if said.precision in ("half", "autocast"):
        remarks.append(f"--precision {said.precision} is taken as auto: precision is chosen to suit the device.")
    data_dir: Path = said.data_dir.expanduser().absolute()
    models_dir: Path = said.models_dir.expanduser().absolute() if said.models_dir else data_dir / "models"
    return Flags(
        port=said.port,
        server_name=said.server_name,
        data_dir=data_dir,
        models_dir=models_dir,
        ckpt=_existing("--ckpt", said.ckpt),
        ckpt_dir=_existing("--ckpt-dir", said.ckpt_dir),
        precision="full" if said.no_half or said.precision == "full" else "auto",
        use_cpu=said.use_cpu is not None,
        theme=said.theme,
        autolaunch=has_screen(environ) if said.autolaunch is None else said.autolaunch,
        loglevel=said.loglevel,
        remarks=tuple(dict.fromkeys(remarks)),
    )


def _existing(flag: str, path: Path | None) -> Path | None:
    """`path` made absolute; a diffusers folder is a checkpoint too, so `--ckpt` may name either."""
    if path is None:
        return None
    absolute = path.expanduser().absolute()
    if not absolute.exists():
        raise WebuiError(f"{flag} {path}: there is no such file or folder; check the path.", field=flag)
    if flag == "--ckpt-dir" and not absolute.is_dir():
        raise WebuiError(f"{flag} {path}: expected a folder; --ckpt takes a single file.", field=flag)
    return absolute


def _unknown(word: str, reader: argparse.ArgumentParser) -> str:
    flag = word.split("=", 1)[0]
    known = re.findall(r"--[a-z][a-z0-9-]+", reader.format_help())
    near = difflib.get_close_matches(flag, known, n=1)
    cure = f"did you mean {near[0]}?" if near else "--help lists all flags."
    return f"{flag} is no flag of Palimpsest; {cure}"


def has_screen(environ: Mapping[str, str]) -> bool:
    """Whether a browser could be shown: always on Windows and macOS, on others when a display is named."""
    return sys.platform in ("win32", "darwin") or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen on `host`:`port` now (another may still be quicker).

    A port the system keeps from us (below 1024 without the right to it) is not free either; a `host` that is no
    address of this machine raises `WebuiError`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if sys.platform != "win32":  # there the option would let two servers share the port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server just ended leaves connections
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise WebuiError(f"--server-name {host}: this machine cannot listen there ({error.strerror}).") from error
    return True


def require_free_port(flags: Flags) -> None:
    """Raises `WebuiError`, with the next free port as the cure, if the page's port is taken."""
    if port_is_free(flags.server_name, flags.port):
        return
    others = range(flags.port + 1, min(flags.port + 50, 65536))
    other = next((port for port in others if port_is_free(flags.server_name, port)), PORT)
    raise WebuiError(
        f"port {flags.port} is in use: another Palimpsest may be running at {flags.url};",
        f"open that page, or start with --port {other}.",
        field="--port",
    )
