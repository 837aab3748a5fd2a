"""The grammar of extra networks in a prompt, `<lora:name:0.8>`; tags are removed before anything else is parsed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from modules.base.errors import WebuiError
from modules.prompts.lora_arguments import Window, block_weights, window

TAG = re.compile(r"<(\w+):([^>]+)>")
_ARGUMENTS = ("te", "unet", "dyn", "lbw", "w", "start", "stop", "step")
NETWORK_KINDS = ("lora", "lyco")  # two names for the same thing
HYPERNETWORK = "hypernet"


@dataclass(frozen=True)
class Tag:
    """One `<kind:a:b:key=c>`: its positional and its named arguments, as text."""

    kind: str
    positional: tuple[str, ...]
    named: MappingProxyType[str, str]

    @property
    def name(self) -> str:
        """The network's name, "" if there is none."""
        return self.positional[0] if self.positional else ""


class NetworkTag(NamedTuple):
    """A LoRA or LyCORIS by name, with its weights for the text encoder and the UNet; dyn_dim limits its rank.

    `blocks` are the weights of the blocks listed in lora_arguments.py; () means 1 for each. `window` are the steps in
    which it is active. `unread` are the unknown arguments.
    """

    name: str
    te: float
    unet: float
    dyn_dim: int | None
    blocks: tuple[float, ...] = ()
    window: Window = Window()
    unread: tuple[str, ...] = ()


class HypernetworkTag(NamedTuple):
    """A hypernetwork by name, and the multiplier of its effect."""

    name: str
    multiplier: float


def take_tags(prompt: str) -> tuple[str, list[Tag]]:
    """(the prompt without its tags, the tags in order).

    >>> text, tags = take_tags("a <lora:foo:0.5:unet=1> cat")
    >>> text, tags[0].positional
    ('a  cat', ('foo', '0.5'))
    """
    tags: list[Tag] = []

    def taken(tag: Tag, text: str) -> str:
        tags.append(tag)
        return ""

    return rewritten(prompt, taken), tags


def rewritten(prompt: str, write: Callable[[Tag, str], str]) -> str:
    """`prompt` with each tag replaced by what `write` returns for it and its text.

    >>> rewritten("a <lora:foo:1> cat", lambda tag, text: text.replace("foo", "bar"))
    'a <lora:bar:1> cat'
    """

    def replaced(match: re.Match[str]) -> str:
        return write(_tag(match[1], match[2]), match[0])

    end = prompt.rfind(">") + 1  # no tag closes after it; without it, each "<" would search the rest
    return TAG.sub(replaced, prompt[:end]) + prompt[end:]


def without_networks(prompt: str, names: Collection[str]) -> str:
    """`prompt` without the tags of the LoRAs called `names`.

    >>> without_networks("a <lora:foo:1> <lora:bar:1>cat", {"bar"})
    'a <lora:foo:1> cat'
    """

    def kept(tag: Tag, text: str) -> str:
        return "" if tag.kind in NETWORK_KINDS and tag.name in names else text

    return rewritten(prompt, kept)


def network_tags(tags: list[Tag]) -> list[NetworkTag]:
    """The LoRA and LyCORIS tags with A1111's defaults: te is 1, unet is te.

    Raises WebuiError for a weight that is not a number.
    """
    return [_network(tag) for tag in tags if tag.kind in NETWORK_KINDS]


def hypernetwork_tags(tags: list[Tag]) -> list[HypernetworkTag]:
    """The tags `<hypernet:name:0.8>`; the default multiplier is 1. Raises WebuiError if it is not a number."""
    return [
        HypernetworkTag(tag.name, _number(tag, (*tag.positional, None)[1], 1.0))
        for tag in tags
        if tag.kind == HYPERNETWORK and tag.name
    ]


def _tag(kind: str, arguments: str) -> Tag:
    positional: list[str] = []
    named: dict[str, str] = {}
    for argument in arguments.split(":"):
        key, equals, value = argument.partition("=")
        if equals and "=" not in value:
            named[key] = value
        else:
            positional.append(argument)
    return Tag(kind, tuple(positional), MappingProxyType(named))


def _network(tag: Tag) -> NetworkTag:
    positional = list(tag.positional)
    named = dict(tag.named)
    if len(positional) > 2 and not _is_number(positional[2]) and block_weights(positional[2]):
        named.setdefault("lbw", positional.pop(2))  # the extension's first syntax, `<lora:name:1:MIDD>`
    name, te, unet, dyn = (*positional, *[None] * 4)[:4]
    if not name or not name.strip():
        raise WebuiError(f"prompt: <{tag.kind}:…> has no name.", "Write <lora:name:weight>.", "prompt")
    te_weight = _number(tag, named.get("te", te), 1.0)
    unet_weight = _number(tag, named.get("unet", unet), te_weight)
    rank = named.get("dyn", dyn)
    dyn_dim = None if rank is None else int(_number(tag, rank, 0.0))
    unread = [*positional[4:], *(f"{key}={value}" for key, value in named.items() if key not in _ARGUMENTS)]
    weights = next((key for key in ("lbw", "w") if key in named), "")
    blocks = block_weights(named[weights]) if weights else ()
    if blocks is None:
        unread.append(f"{weights}={named[weights]}")
    when = window(named.get("start"), named.get("stop"), named.get("step"))
    if when is None:
        unread += [f"{key}={named[key]}" for key in ("start", "stop", "step") if key in named]
    return NetworkTag(name, te_weight, unet_weight, dyn_dim, blocks or (), when or Window(), tuple(unread))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(tag: Tag, text: str | None, default: float) -> float:
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise WebuiError(
            f"prompt: weight {text[:40]!r} of <{tag.kind}:{tag.positional[0][:100]}> must be a number such as 0.8.",
            field="prompt",
        )
    return number
