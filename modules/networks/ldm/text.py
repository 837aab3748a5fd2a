"""Encodes prompt pieces as the conditioning for the UNet, with A1111's chunks, weights and clip skip."""

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
    """Which states of a text encoder become a prompt's conditioning.

    layers_back: 1 is after the last layer, 2 before it; numbers beyond the layer count mean the first layer.
    is_normed: whether the final norm is applied.  pad: the token that pads a chunk after its end marker.
    """

    layers_back: int = 1
    is_normed: bool = True
    pad: int = END


PLAIN: Final = Reading()


class States(NamedTuple):
    """A text encoder's output: token states (rows, tokens, width), and pooled states (rows, width) or None."""

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
    """The states of one prompt's stages, given in pieces as `prompts`, encoded according to the options.

    Shorter prompts are padded with empty chunks. The pooled state of a prompt comes from its first chunk.
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

    As in A1111, the prompts are the stages of one prompt's schedule: the emphasis "Original" preserves the mean over
    all of them, so that encoding a prompt together with others gives slightly different numbers.
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
    """The conditioning (prompts, 77, width) with A1111's old emphasis: one chunk per prompt, see `old_chunk`."""
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
    """Weighted hidden states (chunks, 77, width) of a batch of chunks.

    `clip_skip` n uses the states before the last n − 1 layers, with the final norm applied; numbers beyond the layer
    count mean the first layer.
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
    """The states of a batch of chunks: the weighted state of each token, and the pooled state of each chunk, if any."""
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
    """A chunk's tokens, with `pad` after the first end marker."""
    if pad == END:
        return tuple(tokens)
    end = tokens.index(END) + 1
    return (*tokens[:end], *[pad] * (len(tokens) - end))


def _states(text_encoder: TextNetwork, tokens: Tensor, reading: Reading) -> tuple[Tensor, Tensor | None]:
    """(chunks, 77, width), and (chunks, projection width) if the encoder has a projection, else None."""
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
    """Conditionings (chunks * 77, width), padded with `empty` (77, width) to the longest of them, for stacking."""
    length = max(cond.shape[0] for cond in conds)
    return [torch.cat([cond, *[empty] * ((length - cond.shape[0]) // empty.shape[0])]) for cond in conds]
