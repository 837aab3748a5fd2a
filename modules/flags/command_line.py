"""The command line: A1111's names where they mean the same here, read once into a frozen `Flags`.

Standard library only: the launcher reads the flags before anything is installed.
"""

import argparse
import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from modules.base.errors import WebuiError
from modules.flags.checks import has_screen
from modules.flags.credentials import Credentials, read_credentials
from modules.flags.flags import Flags
from modules.flags.parser import parser
from modules.flags.tables import MODEL_FOLDERS, ONLY_ONE
from modules.flags.values import (
    ANY_ORIGIN,
    EVERYWHERE,
    existing,
    folders,
    is_loopback,
)

_WITHOUT_AUTH = (
    "--listen-without-auth: anyone who can reach this machine over the network can use Palimpsest: generate pictures, "
    "see, save and delete them, and change settings. Use it only on a network you trust completely."
)


def parse(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> Flags:
    """The flags in `argv` (without the program's name); relative paths count from the working directory.

    Raises `WebuiError` with one sentence for an unknown flag, an invalid value, or a missing file or folder.

    >>> parse(["--port", "8000", "--no-half"], {}).precision
    'full'
    """
    reader = parser()
    args, unknown = reader.parse_known_args(list(argv))
    if unknown:
        raise WebuiError(_unknown(unknown[0], reader))
    auth = read_credentials(args.auth, args.auth_file, environ)
    server_name: str = args.server_name or (EVERYWHERE[0] if args.listen or args.listen_without_auth else "127.0.0.1")
    _require_auth(server_name, auth, args.listen_without_auth, args.cors_allow_origins)
    data_dir = _data_dir(args.data_dir)
    models_dir = existing("--models-dir", args.models_dir) or data_dir / "models"
    remarks = [*args.remarks, *_remarks(args, bool(auth), server_name, models_dir), *_repeated(argv)]
    return Flags(
        port=args.port,
        server_name=server_name,
        data_dir=data_dir,
        models_dir=models_dir,
        ckpt=existing("--ckpt", args.ckpt),
        ckpt_dirs=folders("--ckpt-dir", args.ckpt_dir),
        lora_dirs=folders("--lora-dir", args.lora_dir),
        embeddings_dirs=folders("--embeddings-dir", args.embeddings_dir),
        hypernetwork_dirs=folders("--hypernetwork-dir", args.hypernetwork_dir),
        controlnet_dirs=folders("--controlnet-dir", args.controlnet_dir),
        vae_dirs=folders("--vae-dir", args.vae_dir),
        a1111=existing("--a1111", args.a1111),
        comfy=existing("--comfy", args.comfy),
        precision="full" if args.no_half or args.precision == "full" else "auto",
        use_cpu=args.use_cpu is not None,
        memory=args.memory,
        tiled_vae=args.tiled_vae,
        theme=args.theme,
        autolaunch=has_screen(environ) if args.autolaunch is None else args.autolaunch,
        loglevel=args.loglevel,
        log_json=args.log_json,
        auth=auth,
        allow_hosts=tuple(args.allow_host),
        cors_origins=args.cors_allow_origins,
        tls_certfile=_tls("--tls-certfile", args.tls_certfile, "--tls-keyfile", args.tls_keyfile),
        tls_keyfile=_tls("--tls-keyfile", args.tls_keyfile, "--tls-certfile", args.tls_certfile),
        allow_url_fetch=args.allow_url_fetch,
        offline=args.offline,
        max_queued_jobs=args.max_queued_jobs,
        remarks=tuple(dict.fromkeys(remarks)),
    )


def _data_dir(given: Path) -> Path:
    """`given` as an absolute path. It need not exist. Raises `WebuiError` if it, or a folder above it, is a file."""
    path = given.expanduser().absolute()
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            which = "this" if place == path else str(place)
            raise WebuiError(f"--data-dir {given}: expected a folder, but {which} is a file.", field="--data-dir")
    return path


def _remarks(args: argparse.Namespace, has_auth: bool, server_name: str, models_dir: Path) -> Iterator[str]:
    """Warnings about flags that are accepted but are unsafe or mean something else here."""
    if args.listen_without_auth and not has_auth:
        yield _WITHOUT_AUTH
    if has_auth and not args.tls_certfile and not is_loopback(server_name):
        yield "Passwords cross the network unencrypted: add --tls-certfile, or put a proxy with TLS in front."
    if args.precision in ("half", "autocast"):
        yield f"--precision {args.precision} is the same as auto here: precision is chosen to suit the device."
    if args.models_dir and not any((models_dir / name).is_dir() for name in MODEL_FOLDERS):
        yield (
            f"--models-dir {args.models_dir}: no models found, because it has none of the folders "
            f"{', '.join(MODEL_FOLDERS)}; give the folder that holds them."
        )


def _repeated(argv: Sequence[str]) -> Iterator[str]:
    for flag in ONLY_ONE:
        if sum(word == flag or word.startswith(f"{flag}=") for word in argv) > 1:
            yield f"{flag} was given more than once; the last one counts."


def _require_auth(server_name: str, auth: Credentials, without: bool, origins: Sequence[str]) -> None:
    """Raises `WebuiError` if anyone on the network could use the server without a password."""
    if not (auth or without or is_loopback(server_name)):
        raise WebuiError(
            f"Palimpsest needs a password to listen to other machines (on {server_name}):",
            "add --auth user:password or --auth-file FILE, or --listen-without-auth if you really want none.",
            field="--listen",
        )
    if ANY_ORIGIN in origins and not auth:
        raise WebuiError(
            "--cors-allow-origins * would let any website use this server without a password;",
            "list the origins, or add --auth user:password.",
            field="--cors-allow-origins",
        )


def _tls(flag: str, path: Path | None, other: str, partner: Path | None) -> Path | None:
    if path is None and partner is not None:
        raise WebuiError(f"{other} also needs {flag}.", field=flag)
    return existing(flag, path)


def _unknown(word: str, reader: argparse.ArgumentParser) -> str:
    if not word.startswith("-"):  # it may be the second half of a password with a space in it
        return "a value does not belong to any flag; put values with spaces in quotes. --help lists all flags."
    flag = word.split("=", 1)[0]
    known = re.findall(r"--[a-z][a-z0-9-]+", reader.format_help())
    near = difflib.get_close_matches(flag, known, n=1)
    cure = f"did you mean {near[0]}?" if near else "--help lists all flags."
    return f"unknown flag {flag}; {cure}"
