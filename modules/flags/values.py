"""Checks the value of one flag: addresses, origins, counts, files and folders."""

import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from modules.base.errors import WebuiError

EVERYWHERE = ("0.0.0.0", "::")  # every address of this machine
ANY_ORIGIN = "*"


def is_loopback(host: str) -> bool:
    """Whether `host` is a loopback address or "localhost", which only this machine can reach."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def port_number(text: str) -> int:
    """The port in `text`, 1 to 65535. Raises `WebuiError`."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise WebuiError(f"--port {text}: expected a number from 1 to 65535.", field="--port")
    return int(text)


def server_address(text: str) -> str:
    """An address or name to listen on. Raises `WebuiError`."""
    if not re.fullmatch(r"[A-Za-z0-9.:_-]{1,253}", text):
        raise WebuiError(f"--server-name {text}: expected an address or name of this machine.", field="--server-name")
    return text


def origins(text: str) -> tuple[str, ...]:
    """The origins in a comma-separated list, as browsers write them. Raises `WebuiError`."""
    found = [part.strip().rstrip("/").lower() for part in text.split(",") if part.strip()]
    for origin in found:
        parts = urlsplit(origin)
        if origin != ANY_ORIGIN and (
            parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}"
        ):
            raise WebuiError(
                f"--cors-allow-origins {origin}: expected an origin such as https://studio.example.",
                field="--cors-allow-origins",
            )
    return tuple(found)


def allowed_host(text: str) -> str:
    """A host name in lower case. Raises `WebuiError`."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,253}", text):
        raise WebuiError(f"--allow-host {text}: expected a host name without scheme or port.", field="--allow-host")
    return text.lower()


def queued_jobs(text: str) -> int:
    """A number of jobs, 1 to 100000. Raises `WebuiError`."""
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise WebuiError(f"--max-queued-jobs {text}: expected a number from 1 to 100000.", field="--max-queued-jobs")
    return int(text)


def folders(flag: str, paths: Sequence[Path]) -> tuple[Path, ...]:
    """`paths` as absolute paths, without duplicates. Raises `WebuiError` if one does not exist."""
    return tuple(dict.fromkeys(path for each in paths if (path := existing(flag, each)) is not None))


def existing(flag: str, path: Path | None) -> Path | None:
    """`path` as an absolute path; `--ckpt` may name a file or a folder, because diffusers folders are checkpoints too.

    Raises `WebuiError` if it does not exist, or is a file where `flag` needs a folder.
    """
    if path is None:
        return None
    absolute = path.expanduser().absolute()
    if not absolute.exists():
        raise WebuiError(f"{flag} {path}: no such file or folder; check the path.", field=flag)
    if flag.endswith("-dir") and not absolute.is_dir():
        cure = "use --ckpt for a single file." if flag == "--ckpt-dir" else "give the folder that holds it."
        raise WebuiError(f"{flag} {path}: expected a folder, not a file; {cure}", field=flag)
    return absolute
