"""Writes a LoRA or an embedding for a prompt, and parses the result to check that it means that file."""

import re
from typing import Final

from modules.base.errors import WebuiError
from modules.base.names import name_in_tag
from modules.clip.bpe import ClipBPE
from modules.clip.chunks import Vocabulary
from modules.prompts.attention import parse_attention
from modules.prompts.schedule import composition, schedule, timing, without_comments
from modules.prompts.tags import HypernetworkTag, NetworkTag, hypernetwork_tags, network_tags, take_tags
from modules.schema.catalog import Catalog, Hypernetwork, Lora

LONGEST_ALIAS: Final = 200  # characters of an alias to write; a trainer may have stored any text
_BRACKET: Final = re.compile(r"[()\[\]\\]")
_STEPS: Final = 20  # any number: a text that changes during sampling is not a name


def lora_tag(lora: Lora, catalog: Catalog, weight: float = 1.0) -> str:
    """`<lora:name:1>` with the name, the alias or the escaped name, whichever means `lora`; "" if none does.

    `lora` must be in `catalog`.
    """
    for name in (lora.name, lora.alias[: LONGEST_ALIAS + 1], name_in_tag(lora.name)):
        tag = f"<lora:{name}:1>"
        if len(name) <= LONGEST_ALIAS + len(lora.name) and name.isprintable() and _means(tag, lora, catalog):
            return f"<lora:{name}:{weight:g}>"
    return ""


def hypernetwork_tag(hypernetwork: Hypernetwork, catalog: Catalog, weight: float = 1.0) -> str:
    """`<hypernet:name:1>`; "" if no prompt can name `hypernetwork`, which must be in `catalog`."""
    name = hypernetwork.name
    rest, tags = take_tags(without_comments(f"<hypernet:{name}:1>"))
    try:
        is_plain = name.isprintable() and not rest and hypernetwork_tags(tags) == [HypernetworkTag(name, 1.0)]
    except WebuiError:
        return ""
    return f"<hypernet:{name}:{weight:g}>" if is_plain and catalog.hypernetwork(name) is hypernetwork else ""


def embedding_word(name: str, tokenizer: ClipBPE, vocabulary: Vocabulary) -> str:
    r"""The embedding `name` as a prompt must write it, such as `style \(v1\)`; "" if no prompt can name it.

    `vocabulary` contains the words of all embeddings that the prompt may use.
    """
    text = _BRACKET.sub(r"\\\g<0>", name)
    if not name.isprintable() or _pieces(text) != [(name, 1.0)]:
        return ""
    tokens = tokenizer.encode(name)
    found = vocabulary.at(tokens, 0) if tokens else None
    return text if found and (found[0].name, found[1]) == (name, len(tokens)) else ""


def _means(tag: str, lora: Lora, catalog: Catalog) -> bool:
    """Whether the prompt `tag` means `lora` at weight 1 and nothing else."""
    rest, tags = take_tags(without_comments(tag))
    try:
        read = network_tags(tags)
        name = read[0].name if len(read) == 1 else ""
        is_plain = not rest and bool(name) and read == [NetworkTag(name, 1.0, 1.0, None)]
        # No two files of a catalog have the same name, and an exact match wins.
        return is_plain and (name == lora.name or catalog.lora(name) is lora)
    except WebuiError:
        return False


def _pieces(text: str) -> list[tuple[str, float]]:
    """A prompt as the text encoder gets it; empty if it changes during sampling or has several parts."""
    rest, tags = take_tags(without_comments(text))
    parts = composition(rest)
    stages = [stage.text for part in parts for stage in schedule(part.text, timing(_STEPS))]
    return parse_attention(stages[0]) if len(stages) == 1 and not tags and parts[0].weight == 1 else []
