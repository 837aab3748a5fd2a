"""Prompt pieces to the conditioning that the UNet attends to, with A1111's chunks, weights and clip skip."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import CLIPTextModel

from modules.clip.bpe import ClipBPE
from modules.clip.chunks import COMMA_BACKTRACK, EMPTY_CHUNK, Chunk, Piece, chunk_prompt, old_chunk
from modules.networks.embeddings import Words, spoken
from modules.networks.model import Emphasis


@torch.inference_mode()
def encode_prompts(
    text_encoder: CLIPTextModel,
    tokenizer: ClipBPE,
    prompts: Sequence[Sequence[Piece]],
    *,
    clip_skip: int = 1,
    emphasis: Emphasis = "Original",
    comma_backtrack: int = COMMA_BACKTRACK,
    words: Words | None = None,
    is_exact: bool = False,
) -> Tensor:
    """The conditioning (prompts, chunks * 77, width) of several prompts, in the text encoder's dtype and on its device.

    Shorter prompts are filled up with empty chunks. The prompts given together are, as in A1111, the stages of one
    prompt's schedule: in the mode "Original" the mean that weighting must not change is taken over all of them, so
    another company gives slightly other numbers.
    """
    vocabulary = words.vocabulary if words else None
    chunked = [chunk_prompt(prompt, tokenizer, comma_backtrack, vocabulary, is_exact).chunks for prompt in prompts]
    length = max(map(len, chunked), default=1)
    parts: list[Tensor] = []
    for i in range(length):
        chunks = [row[i] if i < len(row) else EMPTY_CHUNK for row in chunked]
        parts.append(encode_chunks(text_encoder, chunks, clip_skip, emphasis, words))
    return torch.cat(parts, dim=1)


def encode_prompt(
    text_encoder: CLIPTextModel,
    tokenizer: ClipBPE,
    prompt: Sequence[Piece],
    *,
    clip_skip: int = 1,
    emphasis: Emphasis = "Original",
    comma_backtrack: int = COMMA_BACKTRACK,
    words: Words | None = None,
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
    text_encoder: CLIPTextModel,
    tokenizer: ClipBPE,
    prompts: Sequence[str],
    clip_skip: int,
    emphasis: Emphasis,
    words: Words | None = None,
) -> Tensor:
    """The conditioning (prompts, 77, width) as A1111's old emphasis made it: one chunk each, see `old_chunk`."""
    vocabulary = words.vocabulary if words else None
    chunks = [old_chunk(prompt, tokenizer, emphasis != "None", vocabulary) for prompt in prompts]
    return encode_chunks(text_encoder, chunks, clip_skip, emphasis, words)


@torch.inference_mode()
def encode_chunks(
    text_encoder: CLIPTextModel,
    chunks: Sequence[Chunk],
    clip_skip: int,
    emphasis: Emphasis,
    words: Words | None = None,
) -> Tensor:
    """Hidden states (chunks, 77, width) of a batch of chunks, weighted.

    `clip_skip` n takes the states before the last n − 1 layers, through the final norm; a number beyond the layers
    means the first.
    """
    device = text_encoder.device
    tokens = torch.tensor([chunk.tokens for chunk in chunks], device=device)
    with spoken(text_encoder, chunks, words.read if words else None):
        if clip_skip <= 1:
            states = text_encoder(input_ids=tokens).last_hidden_state
        else:
            hidden = text_encoder(input_ids=tokens, output_hidden_states=True).hidden_states
            states = text_encoder.final_layer_norm(hidden[-min(clip_skip, len(hidden) - 1)])
    if emphasis in ("None", "Ignore"):
        return states
    weights = torch.tensor([chunk.multipliers for chunk in chunks], device=device, dtype=states.dtype)
    weighted = states * weights[..., None]
    return weighted if emphasis == "No norm" else weighted * (states.mean() / weighted.mean())


def match_lengths(conds: Sequence[Tensor], empty: Tensor) -> list[Tensor]:
    """Conditionings (chunks * 77, width) filled up with `empty` (77, width) to the longest of them, for stacking."""
    length = max(cond.shape[0] for cond in conds)
    return [torch.cat([cond, *[empty] * ((length - cond.shape[0]) // empty.shape[0])]) for cond in conds]
