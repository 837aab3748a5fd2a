"""Prompt pieces to the conditioning that the UNet attends to, with A1111's chunks, weights and clip skip."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from modules.clip.bpe import END, ClipBPE
from modules.clip.chunks import COMMA_BACKTRACK, EMPTY_CHUNK, Chunk, Piece, chunk_prompt, old_chunk
from modules.networks.embeddings import EmbeddingWords, spoken
from modules.networks.model import Emphasis, TextOptions

TextNetwork = CLIPTextModel | CLIPTextModelWithProjection


@dataclass(frozen=True)
class Reading:
    """Which of a text encoder's states are a prompt's conditioning.

    layers_back: 1 is behind the last layer, 2 before it; a number beyond the layers means the first.
    is_normed: whether they go through the final norm.  pad: the token that fills a chunk up behind its end marker.
    """

    layers_back: int = 1
    is_normed: bool = True
    pad: int = END


PLAIN: Final = Reading()


class States(NamedTuple):
    """What a text encoder makes of prompts: (rows, tokens, width), and of each as a whole (rows, width) or None."""

    tokens: Tensor
    pooled: Tensor | None


def read_prompts(
    text_encoder: TextNetwork,
    tokenizer: ClipBPE,
    stages: Sequence[str],
    prompts: Sequence[Sequence[Piece]],
    reading: Reading,
    options: TextOptions,
    words: EmbeddingWords | None,
) -> States:
    """The stages of one prompt, which are `prompts` in pieces, as the options want them read.

    Shorter prompts are filled up with empty chunks. What stands for a prompt as a whole comes from its first chunk.
    """
    vocabulary = words.vocabulary if words else None
    if options.is_old:
        chunks = [old_chunk(stage, tokenizer, options.emphasis != "None", vocabulary) for stage in stages]
        return read_chunks(text_encoder, chunks, reading, options.emphasis, words)
    backtrack, is_exact = options.comma_backtrack, options.is_exact
    chunked = [chunk_prompt(prompt, tokenizer, backtrack, vocabulary, is_exact).chunks for prompt in prompts]
    length = max(map(len, chunked), default=1)
    parts: list[States] = []
    for i in range(length):
        chunks = [row[i] if i < len(row) else EMPTY_CHUNK for row in chunked]
        parts.append(read_chunks(text_encoder, chunks, reading, options.emphasis, words))
    return States(torch.cat([part.tokens for part in parts], dim=1), parts[0].pooled)


def encode_prompts(
    text_encoder: TextNetwork,
    tokenizer: ClipBPE,
    prompts: Sequence[Sequence[Piece]],
    *,
    clip_skip: int = 1,
    emphasis: Emphasis = "Original",
    comma_backtrack: int = COMMA_BACKTRACK,
    words: EmbeddingWords | None = None,
    is_exact: bool = False,
) -> Tensor:
    """The conditioning (prompts, chunks * 77, width) of several prompts, in the text encoder's dtype and on its device.

    The prompts given together are, as in A1111, the stages of one prompt's schedule: in the mode "Original" the mean
    that weighting must not change is taken over all of them, so another company gives slightly other numbers.
    """
    options = TextOptions(clip_skip, emphasis, comma_backtrack, is_exact)
    reading = replace(PLAIN, layers_back=clip_skip)
    return read_prompts(text_encoder, tokenizer, (), prompts, reading, options, words).tokens


def encode_prompt(
    text_encoder: TextNetwork,
    tokenizer: ClipBPE,
    prompt: Sequence[Piece],
    *,
    clip_skip: int = 1,
    emphasis: Emphasis = "Original",
    comma_backtrack: int = COMMA_BACKTRACK,
    words: EmbeddingWords | None = None,
) -> Tensor:
    """The conditioning (chunks * 77, width) of one prompt."""
    rows = encode_prompts(
        text_encoder,
        tokenizer,
        [prompt],
        clip_skip=clip_skip,
        emphasis=emphasis,
        comma_backtrack=comma_backtrack,
        words=words,
    )
    return rows[0]


def encode_old(
    text_encoder: TextNetwork,
    tokenizer: ClipBPE,
    prompts: Sequence[str],
    clip_skip: int,
    emphasis: Emphasis,
    words: EmbeddingWords | None = None,
) -> Tensor:
    """The conditioning (prompts, 77, width) as A1111's old emphasis made it: one chunk each, see `old_chunk`."""
    options = TextOptions(clip_skip, emphasis, is_old=True)
    reading = replace(PLAIN, layers_back=clip_skip)
    return read_prompts(text_encoder, tokenizer, prompts, (), reading, options, words).tokens


def encode_chunks(
    text_encoder: TextNetwork,
    chunks: Sequence[Chunk],
    clip_skip: int,
    emphasis: Emphasis,
    words: EmbeddingWords | None = None,
) -> Tensor:
    """Hidden states (chunks, 77, width) of a batch of chunks, weighted.

    `clip_skip` n takes the states before the last n − 1 layers, through the final norm; a number beyond the layers
    means the first.
    """
    return read_chunks(text_encoder, chunks, replace(PLAIN, layers_back=clip_skip), emphasis, words).tokens


@torch.inference_mode()
def read_chunks(
    text_encoder: TextNetwork,
    chunks: Sequence[Chunk],
    reading: Reading,
    emphasis: Emphasis,
    words: EmbeddingWords | None = None,
) -> States:
    """The states of a batch of chunks: each token's, weighted, and each chunk's as a whole, where there is such."""
    device = text_encoder.device
    rows = [padded(chunk.tokens, reading.pad) for chunk in chunks]
    tokens = torch.tensor(rows, device=device)
    with spoken(text_encoder, chunks, words.read if words else None):
        states, pooled = _states(text_encoder, tokens, reading)
    if emphasis in ("None", "Ignore"):
        return States(states, pooled)
    weights = torch.tensor([chunk.multipliers for chunk in chunks], device=device, dtype=states.dtype)
    weighted = states * weights[..., None]
    return States(weighted if emphasis == "No norm" else weighted * (states.mean() / weighted.mean()), pooled)


def padded(tokens: Sequence[int], pad: int) -> tuple[int, ...]:
    """A chunk's tokens with `pad` behind the first end marker."""
    if pad == END:
        return tuple(tokens)
    end = tokens.index(END) + 1
    return (*tokens[:end], *[pad] * (len(tokens) - end))


def _states(text_encoder: TextNetwork, tokens: Tensor, reading: Reading) -> tuple[Tensor, Tensor | None]:
    """(chunks, 77, width), and (chunks, width of the projection) of an encoder that has one."""
    is_last = reading.layers_back <= 1
    output = text_encoder(input_ids=tokens, output_hidden_states=not (is_last and reading.is_normed))
    pooled: Tensor | None = output.text_embeds if isinstance(text_encoder, CLIPTextModelWithProjection) else None
    if is_last and reading.is_normed:
        return output.last_hidden_state, pooled
    hidden = output.hidden_states
    states = hidden[-max(1, min(reading.layers_back, len(hidden) - 1))]
    return _plain(text_encoder).final_layer_norm(states) if reading.is_normed else states, pooled


def _plain(text_encoder: TextNetwork) -> CLIPTextModel:
    return text_encoder.text_model if isinstance(text_encoder, CLIPTextModelWithProjection) else text_encoder


def match_lengths(conds: Sequence[Tensor], empty: Tensor) -> list[Tensor]:
    """Conditionings (chunks * 77, width) filled up with `empty` (77, width) to the longest of them, for stacking."""
    length = max(cond.shape[0] for cond in conds)
    return [torch.cat([cond, *[empty] * ((length - cond.shape[0]) // empty.shape[0])]) for cond in conds]
