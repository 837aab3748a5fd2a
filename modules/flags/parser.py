"""The parser of the command line and the help of each flag."""

import argparse
from pathlib import Path
from typing import Any, NoReturn

from modules.base.errors import WebuiError
from modules.base.root import ROOT
from modules.flags.credentials import AUTH_VARIABLE
from modules.flags.flags import MAX_QUEUED_JOBS, PORT
from modules.flags.tables import LOGLEVELS, MEMORY_ALIASES, MEMORY_FLAGS, MORE_FOLDERS, NOT_NEEDED, NOT_OFFERED
from modules.flags.values import (
    allowed_host,
    origins,
    port_number,
    queued_jobs,
    server_address,
)


class Parser(argparse.ArgumentParser):
    """argparse, but an error raises `WebuiError` with one sentence instead of printing the usage and exiting."""

    def error(self, message: str) -> NoReturn:
        raise WebuiError(f"{message};", "--help lists all flags.")


class _Remark(argparse.Action):
    """Accepts a flag that does nothing here and notes the reason."""

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
    """Rejects one of A1111's flags, with the reason."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        assert option_string is not None
        raise WebuiError(f"{option_string} is not supported: {NOT_OFFERED[option_string]}.")


def parser() -> argparse.ArgumentParser:
    """The parser of webui.py's command line. `--help` prints and exits; invalid input raises `WebuiError`."""
    new = Parser(prog="webui.py", description="Palimpsest, img2img in the browser.", allow_abbrev=False)
    new.set_defaults(remarks=[])
    _add_page(new)
    _add_access(new)
    _add_folders(new)
    _add_computing(new)
    for flag, (words, _) in NOT_NEEDED.items():
        new.add_argument(flag, action=_Remark, nargs=words, dest="remarks", help=argparse.SUPPRESS)
    for flag in NOT_OFFERED:
        new.add_argument(flag, action=_NotOffered, nargs="?", help=argparse.SUPPRESS)
    return new


def _add_page(new: Parser) -> None:
    group = new.add_argument_group("page")
    group.add_argument(
        "--port", type=port_number, default=PORT, metavar="N", help="port of the page (default: %(default)s)"
    )
    group.add_argument(
        "--server-name",
        type=server_address,
        metavar="HOST",
        help="address to listen on (default: 127.0.0.1, which only this machine can reach)",
    )
    group.add_argument(
        "--theme", choices=("auto", "light", "dark"), default="auto", help="colors (default: the browser's choice)"
    )
    group.add_argument(
        "--autolaunch",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="open the browser (default: yes, if there is a screen)",
    )


def _add_access(new: Parser) -> None:
    group = new.add_argument_group("access from other machines")
    group.add_argument("--listen", action="store_true", help="listen on all addresses; needs --auth")
    group.add_argument(
        "--auth",
        *("--gradio-auth", "--api-auth"),
        action="append",
        default=[],
        metavar="USER:PASSWORD",
        help="user and password for the page and the API (repeat it, or separate several with commas)",
    )
    group.add_argument(
        "--auth-file",
        "--gradio-auth-path",
        action="append",
        default=[],
        metavar="FILE",
        help=f"file with one user:password a line; like the variable {AUTH_VARIABLE}, it hides passwords from `ps`",
    )
    group.add_argument("--listen-without-auth", action="store_true", help="listen on all addresses without a password")
    group.add_argument(
        "--allow-host",
        type=allowed_host,
        action="append",
        default=[],
        metavar="NAME",
        help="another name of this server, such as a proxy's (repeat it for several)",
    )
    group.add_argument(
        "--cors-allow-origins",
        type=origins,
        default=(),
        metavar="ORIGINS",
        help="other sites whose pages may use the server, separated by commas",
    )
    group.add_argument("--tls-certfile", type=Path, metavar="FILE", help="certificate (PEM), for https")
    group.add_argument("--tls-keyfile", type=Path, metavar="FILE", help="the certificate's key (PEM)")
    group.add_argument(
        "--allow-url-fetch",
        action="store_true",
        help="let requests give http(s) URLs of public servers as pictures, and fetch them",
    )
    group.add_argument(
        "--offline",
        action="store_true",
        help="never fetch models, neither from the page nor with `fetch`; nothing else asks the network anyway",
    )
    group.add_argument(
        "--max-queued-jobs",
        type=queued_jobs,
        default=MAX_QUEUED_JOBS,
        metavar="N",
        help="jobs that one client may queue (default: %(default)s)",
    )


def _add_folders(new: Parser) -> None:
    group = new.add_argument_group("folders and files")
    group.add_argument(
        "--data-dir",
        type=Path,
        default=ROOT,
        metavar="DIR",
        help="folder of outputs, models, extensions and config.json (default: the one with webui.py)",
    )
    group.add_argument("--models-dir", type=Path, metavar="DIR", help="folder of models (default: DATA_DIR/models)")
    group.add_argument("--ckpt", type=Path, metavar="FILE", help="checkpoint to start with")
    for flag, what in MORE_FOLDERS.items():
        group.add_argument(
            flag,
            type=Path,
            action="append",
            default=[],
            metavar="DIR",
            help=f"another folder of {what} (repeat it for several)",
        )
    group.add_argument(
        "--a1111",
        type=Path,
        metavar="DIR",
        help="also use the models, styles and settings of this A1111 or Forge installation, without changing it",
    )
    group.add_argument(
        "--comfy",
        type=Path,
        metavar="DIR",
        help="also use the models of this ComfyUI installation, without changing it (or of an extra_model_paths.yaml)",
    )


def _add_computing(new: Parser) -> None:
    group = new.add_argument_group("computing and logs")
    group.add_argument(
        "--precision",
        choices=("auto", "full", "half", "autocast"),
        default="auto",
        help="full: compute in 32 bit (default: what suits the device)",
    )
    group.add_argument("--no-half", action="store_true", help="same as --precision full")
    group.add_argument(
        "--use-cpu",
        "--always-cpu",
        nargs="*",
        default=None,
        metavar="PART",
        help="compute on the CPU even if there is a GPU; A1111's word 'all' may follow",
    )
    group.add_argument("--tiled-vae", action="store_true", help="always encode and decode large pictures in tiles")
    for flag, (mode, text) in MEMORY_FLAGS.items():
        group.add_argument(
            flag,
            *MEMORY_ALIASES.get(flag, ()),
            action="store_const",
            const=mode,
            dest="memory",
            default="auto",
            help=text,
        )
    group.add_argument(
        "--loglevel",
        type=str.upper,
        choices=LOGLEVELS,
        default="INFO",
        help="lowest level to log (default: %(default)s)",
    )
    group.add_argument("--log-json", action="store_true", help="log each line as a JSON object")
