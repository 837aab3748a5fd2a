"""The command line: A1111's names where they mean the same here, read once into a frozen `Flags`.

Standard library only: the launcher reads the flags before anything is installed.
"""

import argparse
import binascii
import difflib
import errno
import hashlib
import hmac
import ipaddress
import os
import re
import secrets
import socket
import sys
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NoReturn
from urllib.parse import urlsplit

from modules.errors import WebuiError

ROOT = Path(__file__).resolve().parent.parent
PORT = 7860  # A1111's, which bookmarks and scripts know
LOGLEVELS = ("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG")

_ATTENTION = "attention is PyTorch's scaled_dot_product_attention, which picks the fastest way by itself"
_MEMORY = "memory needs no flag; a decode that does not fit is repeated in tiles"
_NO_DOWNLOAD = "Palimpsest downloads no models at all"
_NO_TUNNEL = "no foreign server stands between you and Palimpsest; use --listen with --auth, or an SSH tunnel"
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
        "--share": _NO_TUNNEL,
        "--ngrok": _NO_TUNNEL,
        "--disable-safe-unpickle": "checkpoints are never unpickled unsafely; convert them to .safetensors",
        "--enable-insecure-extension-access": "nothing is ever installed over HTTP; copy extensions into the folder",
        "--cors-allow-origins-regex": "a regex lets more in than it seems to; name the origins in --cors-allow-origins",
        "--api-server-stop": "the server is ended where it was started, not over HTTP",
    }
)

MORE_FOLDERS: Mapping[str, str] = MappingProxyType(
    {
        "--ckpt-dir": "checkpoints",
        "--lora-dir": "LoRAs",
        "--embeddings-dir": "textual inversions",
        "--vae-dir": "VAEs",
    }
)
MODEL_FOLDERS = ("Stable-diffusion", "Lora", "LyCORIS", "VAE", "embeddings")  # those that are read in a models folder
ONLY_ONE = ("--data-dir", "--models-dir", "--ckpt")  # flags of one file or folder

EVERYWHERE = ("0.0.0.0", "::")  # addresses that mean: on all of this machine's
ANY_ORIGIN = "*"
MAX_QUEUED_JOBS = 100  # of one client; the page's own queue of a long evening fits
AUTH_VARIABLE = "PALIMPSEST_AUTH"  # a password here is seen neither in `ps` nor in a shell's history

_WITHOUT_AUTH = (
    "--listen-without-auth: everybody who can reach this machine over the network can use Palimpsest: draw with its "
    "models, see, save and delete its pictures, change its settings. Leave it only in a network you trust wholly."
)
_PASSWORDS = "user:password pairs, at least one; a comma between two"


class Credentials:
    """The pairs of user and password that are let in. Holds digests under a key of this process, never a password.

    No dataclass, so that no walk over the fields of `Flags` can come upon them; what it shows of itself is `***`.
    """

    def __init__(self, pairs: Iterable[str] = ()) -> None:
        self._key = secrets.token_bytes(32)
        self._digests = tuple(self._digest(pair.encode()) for pair in pairs)

    def __bool__(self) -> bool:
        """Whether anybody needs a password at all."""
        return bool(self._digests)

    def __repr__(self) -> str:
        return "***" if self else "none"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Credentials) and bool(self) == bool(other)

    __hash__ = object.__hash__

    def admit(self, authorization: str) -> bool:
        """Whether the value of an Authorization header is Basic and holds one of the pairs.

        Takes the same time for every wrong pair: digests are compared, all of them, each in constant time.
        """
        pair = _pair(authorization)
        if pair is None:
            return False
        given = self._digest(pair)
        right = False
        for digest in self._digests:
            right = hmac.compare_digest(given, digest) | right
        return right

    def _digest(self, pair: bytes) -> bytes:
        return hmac.digest(self._key, pair, "sha256")


def account_of(authorization: str) -> str:
    """The user that an Authorization header names, as a digest; that of "" where it names none."""
    name = (_pair(authorization) or b"").partition(b":")[0]
    return hashlib.sha256(name).hexdigest()


def _pair(authorization: str) -> bytes | None:
    """user:password in the value of an Authorization header; None if it is no Basic one."""
    scheme, _, payload = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return b64decode(payload.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None


@dataclass(frozen=True)
class Flags:
    """What the command line said, resolved: every path is absolute, every default filled in."""

    port: int = PORT
    server_name: str = "127.0.0.1"
    data_dir: Path = ROOT
    models_dir: Path = ROOT / "models"
    ckpt: Path | None = None  # the checkpoint to start with, instead of the one used last
    ckpt_dirs: tuple[Path, ...] = ()  # searched for checkpoints besides models_dir/Stable-diffusion
    lora_dirs: tuple[Path, ...] = ()  # searched for LoRAs besides models_dir/Lora
    embeddings_dirs: tuple[Path, ...] = ()  # searched for textual inversions besides models_dir/embeddings
    vae_dirs: tuple[Path, ...] = ()  # searched for VAEs besides models_dir/VAE
    precision: Literal["auto", "full"] = "auto"  # full: all in 32 bit floats
    use_cpu: bool = False
    theme: Literal["auto", "light", "dark"] = "auto"  # auto: as the browser wishes
    autolaunch: bool = True
    loglevel: str = "INFO"
    log_json: bool = False  # each line of the log as one JSON object
    auth: Credentials = field(default_factory=Credentials)
    allow_hosts: tuple[str, ...] = ()  # further names of this server, in lower case, as a proxy or a DNS calls it
    cors_origins: tuple[str, ...] = ()  # scheme://host[:port] of foreign pages that may use the server; or just "*"
    tls_keyfile: Path | None = None
    tls_certfile: Path | None = None
    allow_url_fetch: bool = False  # whether a picture may be named by its URL
    max_queued_jobs: int = MAX_QUEUED_JOBS  # waiting or running, of one client
    remarks: tuple[str, ...] = ()  # one line for each flag that was taken but means nothing, or another thing, here

    @property
    def url(self) -> str:
        """Where the page is, for this machine's browser."""
        name = "127.0.0.1" if self.server_name in EVERYWHERE else self.server_name
        host = f"[{name}]" if ":" in name else name
        return f"{'https' if self.tls_certfile else 'http'}://{host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine can reach the server."""
        return is_loopback(self.server_name)

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


def is_loopback(host: str) -> bool:
    """Whether `host` is an address, or the name, by which a machine reaches nobody but itself."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _server_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.:_-]{1,253}", text):
        raise WebuiError(f"--server-name {text}: expected an address or name of this machine.", field="--server-name")
    return text


def _origins(text: str) -> tuple[str, ...]:
    """The origins in a comma-separated list, as browsers write them."""
    found = [part.strip().rstrip("/").lower() for part in text.split(",") if part.strip()]
    for origin in found:
        parts = urlsplit(origin)
        if origin != ANY_ORIGIN and (
            parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}"
        ):
            raise WebuiError(
                f"--cors-allow-origins {origin}: expected an origin such as https://studio.example or http://localhost:3000.",
                field="--cors-allow-origins",
            )
    return tuple(found)


def _allowed_host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,253}", text):
        raise WebuiError(f"--allow-host {text}: expected a name without scheme and port.", field="--allow-host")
    return text.lower()


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise WebuiError(f"--max-queued-jobs {text}: expected a number from 1 to 100000.", field="--max-queued-jobs")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The parser of webui.py's command line; `--help` prints and exits, every mistake raises `WebuiError`."""
    new = Parser(prog="webui.py", description="Palimpsest, img2img in the browser.", allow_abbrev=False)
    new.set_defaults(remarks=[])
    net = new.add_argument_group("page")
    net.add_argument("--port", type=_port, default=PORT, metavar="N", help="port of the page (default: %(default)s)")
    net.add_argument(
        "--server-name",
        type=_server_name,
        metavar="HOST",
        help="address of this machine to answer on (default: 127.0.0.1, which only this machine reaches)",
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
    door = new.add_argument_group("for other machines")
    door.add_argument("--listen", action="store_true", help="answer other machines too; needs --auth")
    for flag, others in (("--auth", ("--gradio-auth", "--api-auth")), ("--auth-file", ("--gradio-auth-path",))):
        door.add_argument(
            flag,
            *others,
            action="append",
            default=[],
            metavar="FILE" if flag.endswith("file") else "USER:PASSWORD",
            help=f"a file with a user:password a line; seen in no process list, which {AUTH_VARIABLE} is not either"
            if flag.endswith("file")
            else "who is let in, page and interface alike (repeat it, or put commas between, for several)",
        )
    door.add_argument(
        "--listen-without-auth", action="store_true", help="answer all who can reach this machine, without a password"
    )
    door.add_argument(
        "--allow-host",
        type=_allowed_host,
        action="append",
        default=[],
        metavar="NAME",
        help="one more name this server goes by, such as a proxy's (repeat it for several)",
    )
    door.add_argument(
        "--cors-allow-origins",
        type=_origins,
        default=(),
        metavar="ORIGINS",
        help="pages of other sites that may use the server, with commas between",
    )
    door.add_argument("--tls-certfile", type=Path, metavar="FILE", help="certificate (PEM): answer by https")
    door.add_argument("--tls-keyfile", type=Path, metavar="FILE", help="the certificate's key (PEM)")
    door.add_argument(
        "--allow-url-fetch",
        action="store_true",
        help="let requests name pictures by http(s) URLs of public servers, which are then fetched",
    )
    door.add_argument(
        "--max-queued-jobs",
        type=_count,
        default=MAX_QUEUED_JOBS,
        metavar="N",
        help="jobs that one client may have waiting (default: %(default)s)",
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
    for flag, what in MORE_FOLDERS.items():
        where.add_argument(
            flag,
            type=Path,
            action="append",
            default=[],
            metavar="DIR",
            help=f"one more folder of {what} (repeat it for several)",
        )
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
    how.add_argument("--log-json", action="store_true", help="log each line as a JSON object")
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
    auth = _credentials(said.auth, said.auth_file, environ)
    server_name: str = said.server_name or (EVERYWHERE[0] if said.listen or said.listen_without_auth else "127.0.0.1")
    _require_auth(server_name, auth, said.listen_without_auth, said.cors_allow_origins)
    remarks: list[str] = list(said.remarks)
    if said.listen_without_auth and not auth:
        remarks.append(_WITHOUT_AUTH)
    if auth and not said.tls_certfile and not is_loopback(server_name):
        remarks.append(
            "Passwords cross the network in the clear: add --tls-certfile, or put a proxy with TLS in front."
        )
    if said.precision in ("half", "autocast"):
        remarks.append(f"--precision {said.precision} is taken as auto: precision is chosen to suit the device.")
    data_dir: Path = said.data_dir.expanduser().absolute()
    for place in (data_dir, *data_dir.parents):
        if place.exists() and not place.is_dir():
            which = "this" if place == data_dir else str(place)
            raise WebuiError(
                f"--data-dir {said.data_dir}: expected a folder, and {which} is a file.", field="--data-dir"
            )
    models_dir: Path = _existing("--models-dir", said.models_dir) or data_dir / "models"
    if said.models_dir and not any((models_dir / name).is_dir() for name in MODEL_FOLDERS):
        remarks.append(
            f"--models-dir {said.models_dir}: nothing is found there, as it has none of the folders "
            f"{', '.join(MODEL_FOLDERS)}; name the folder that holds them."
        )
    for flag in ONLY_ONE:
        if sum(word == flag or word.startswith(f"{flag}=") for word in argv) > 1:
            remarks.append(f"{flag} was given more than once, and the last one counts.")
    return Flags(
        port=said.port,
        server_name=server_name,
        data_dir=data_dir,
        models_dir=models_dir,
        ckpt=_existing("--ckpt", said.ckpt),
        ckpt_dirs=_folders("--ckpt-dir", said.ckpt_dir),
        lora_dirs=_folders("--lora-dir", said.lora_dir),
        embeddings_dirs=_folders("--embeddings-dir", said.embeddings_dir),
        vae_dirs=_folders("--vae-dir", said.vae_dir),
        precision="full" if said.no_half or said.precision == "full" else "auto",
        use_cpu=said.use_cpu is not None,
        theme=said.theme,
        autolaunch=has_screen(environ) if said.autolaunch is None else said.autolaunch,
        loglevel=said.loglevel,
        log_json=said.log_json,
        auth=auth,
        allow_hosts=tuple(said.allow_host),
        cors_origins=said.cors_allow_origins,
        tls_certfile=_tls("--tls-certfile", said.tls_certfile, "--tls-keyfile", said.tls_keyfile),
        tls_keyfile=_tls("--tls-keyfile", said.tls_keyfile, "--tls-certfile", said.tls_certfile),
        allow_url_fetch=said.allow_url_fetch,
        max_queued_jobs=said.max_queued_jobs,
        remarks=tuple(dict.fromkeys(remarks)),
    )


def _folders(flag: str, paths: Sequence[Path]) -> tuple[Path, ...]:
    """`paths` made absolute, each once."""
    return tuple(dict.fromkeys(path for each in paths if (path := _existing(flag, each)) is not None))


def _existing(flag: str, path: Path | None) -> Path | None:
    """`path` made absolute; a diffusers folder is a checkpoint too, so `--ckpt` may name either."""
    if path is None:
        return None
    absolute = path.expanduser().absolute()
    if not absolute.exists():
        raise WebuiError(f"{flag} {path}: there is no such file or folder; check the path.", field=flag)
    if flag.endswith("-dir") and not absolute.is_dir():
        other = " --ckpt takes a single file." if flag == "--ckpt-dir" else " name the one it lies in."
        raise WebuiError(f"{flag} {path}: expected a folder;{other}", field=flag)
    return absolute


def _credentials(said: Sequence[str], files: Sequence[str], environ: Mapping[str, str]) -> Credentials:
    """Who is let in, by all three ways of saying it. No error shows what was said: it may be a password."""
    pairs: list[str] = []
    for text in (*said, environ.get(AUTH_VARIABLE, "")):
        pairs += [pair for pair in text.split(",") if pair]
    for name in files:
        try:
            lines = Path(name).expanduser().read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise WebuiError(
                f"--auth-file {name}: it cannot be read ({getattr(error, 'strerror', '') or 'it is no text'}).",
                "Name a text file with a user:password a line.",
                field="--auth-file",
            ) from error
        own = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not own:
            raise WebuiError(
                f"--auth-file {name}: expected a user:password a line, and there is none.", field="--auth-file"
            )
        pairs += own
    if (said and not any(said)) or not all(re.fullmatch(r"[^:]+:.+", pair) for pair in pairs):
        raise WebuiError(f"--auth: expected {_PASSWORDS}.", "What was given is not shown here.", field="--auth")
    return Credentials(pairs)


def _require_auth(server_name: str, auth: Credentials, without: bool, origins: Sequence[str]) -> None:
    """Raises `WebuiError` where anybody could drive the server."""
    if not (auth or without or is_loopback(server_name)):
        raise WebuiError(
            f"Palimpsest does not answer other machines (on {server_name}) without a password:",
            "add --auth user:password or --auth-file FILE, or say --listen-without-auth if you mean it.",
            field="--listen",
        )
    if ANY_ORIGIN in origins and not auth:
        raise WebuiError(
            "--cors-allow-origins *: any page on the web could then use this server without a password;",
            "name the origins, or add --auth user:password.",
            field="--cors-allow-origins",
        )


def _tls(flag: str, path: Path | None, other: str, partner: Path | None) -> Path | None:
    if path is None and partner is not None:
        raise WebuiError(f"{other} needs {flag} beside it.", field=flag)
    return _existing(flag, path)


def _unknown(word: str, reader: argparse.ArgumentParser) -> str:
    if not word.startswith("-"):  # it may be the second half of a password with a space in it
        return "there is a word that belongs to no flag; put values with spaces into quotes. --help lists all flags."
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
