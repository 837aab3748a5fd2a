"""Who may use the server: user names and passwords from the command line, a file or an environment variable."""

import binascii
import hashlib
import hmac
import re
import secrets
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from modules.base.errors import WebuiError

AUTH_VARIABLE = "PALIMPSEST_AUTH"  # a password here appears neither in `ps` nor in a shell's history
_PASSWORDS = "one or more user:password pairs, separated by commas"


class Credentials:
    """The user names and passwords that may log in. Stores digests keyed by this process, never a password.

    Not a dataclass, so code that lists the fields of `Flags` cannot reach them; its repr is `***`.
    """

    def __init__(self, pairs: Iterable[str] = ()) -> None:
        self._key = secrets.token_bytes(32)
        self._digests = tuple(self._digest(pair.encode()) for pair in pairs)

    def __bool__(self) -> bool:
        """Whether a password is needed."""
        return bool(self._digests)

    def __repr__(self) -> str:
        return "***" if self else "none"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Credentials) and bool(self) == bool(other)

    __hash__ = object.__hash__

    def admit(self, authorization: str) -> bool:
        """Whether the value of an Authorization header is Basic and contains one of the pairs.

        Takes the same time for every wrong pair: it compares all digests, each in constant time.
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
    """A digest of the user name in an Authorization header, or of "" if there is none."""
    name = (_pair(authorization) or b"").partition(b":")[0]
    return hashlib.sha256(name).hexdigest()


def _pair(authorization: str) -> bytes | None:
    """user:password in the value of an Authorization header; None if it is not Basic."""
    scheme, _, payload = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return b64decode(payload.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None


def read_credentials(pairs_given: Sequence[str], files: Sequence[str], environ: Mapping[str, str]) -> Credentials:
    """All given credentials. Raises `WebuiError`; its message never shows a value, which may be a password."""
    pairs: list[str] = []
    for text in (*pairs_given, environ.get(AUTH_VARIABLE, "")):
        pairs += [pair for pair in text.split(",") if pair]
    for name in files:
        try:
            lines = Path(name).expanduser().read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise WebuiError(
                f"--auth-file {name}: cannot be read ({getattr(error, 'strerror', '') or 'not a text file'}).",
                "Give a text file with one user:password per line.",
                field="--auth-file",
            ) from error
        from_file = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not from_file:
            raise WebuiError(
                f"--auth-file {name}: expected one user:password per line, but there is none.", field="--auth-file"
            )
        pairs += from_file
    if (pairs_given and not any(pairs_given)) or not all(re.fullmatch(r"[^:]+:.+", pair) for pair in pairs):
        raise WebuiError(
            f"--auth: expected {_PASSWORDS}.", "The value is hidden because it may be a password.", field="--auth"
        )
    return Credentials(pairs)
