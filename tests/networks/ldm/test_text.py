# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# transformers and diffusers declare narrower types for tensors and answers than they accept and return.

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from modules.clip.bpe import ClipBPE
from modules.clip.chunks import BREAK, EMPTY_CHUNK
from modules.networks.ldm.layout import read_config
from modules.networks.ldm.text import Emphasis, encode_chunks, encode_prompt, encode_prompts, match_lengths
from modules.networks.sd1.model import StableDiffusion

# Some rows of A1111 v1.10.0's output for these prompts, with the encoder that `recorded_encoder` rebuilds.
RECORDED = json.loads(Path(__file__).with_name("recorded_conditioning.json").read_text(encoding="utf-8"))
WIDTH, LAYERS, INNER = 64, 4, 256


@pytest.fixture(scope="module")
def recorded_encoder() -> CLIPTextModel:
    """The random text encoder of the recordings: each tensor drawn from a generator seeded by its name, rounded to
    fp16."""
    config = read_config("sd1", "text_encoder") | {
        "hidden_size": WIDTH,
        "projection_dim": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "intermediate_size": INNER,
    }
    model = CLIPTextModel(CLIPTextConfig(**config)).eval()
    state = {name: drawn(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()}
    model.load_state_dict(state)
    return model


def drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    short = {"embeddings.token_embedding.weight": "tok", "embeddings.position_embedding.weight": "pos"}
    key = short.get(name, f"cond_stage_model.transformer.text_model.{name}")
    noise = np.random.default_rng([1234, zlib.crc32(key.encode())]).standard_normal(shape, dtype=np.float32)
    layer, _, kind = name.rpartition(".")
    if name in short:
        noise *= 0.5 if short[name] == "tok" else 0.25
    elif "norm" in layer:
        noise = 0.1 * noise + (kind == "weight")
    elif kind == "bias":
        noise *= 0.05
    else:
        gain = 1.0 if layer.endswith(("out_proj", "fc2")) else 1.2
        noise *= np.float32(gain / np.sqrt(shape[1]))
    return torch.from_numpy(noise.astype(np.float16).astype(np.float32))


@pytest.mark.parity
@pytest.mark.parametrize("case", RECORDED, ids=lambda case: f"{case['emphasis']}, {case['length']}")
def test_the_conditioning_is_a1111s(case: dict[str, Any], recorded_encoder: CLIPTextModel, bpe: ClipBPE) -> None:
    pieces = [(text, weight) for text, weight in case["pieces"]]
    cond = encode_prompt(recorded_encoder, bpe, pieces, emphasis=case["emphasis"])
    assert cond.shape == (case["length"], WIDTH)
    assert float(cond.mean()) == pytest.approx(case["mean"], abs=1e-6)
    for row, values in case["rows"].items():
        assert cond[int(row), :8].tolist() == pytest.approx(values, abs=1e-5), f"row {row}"


def test_without_weights_all_emphasis_modes_agree(tiny: StableDiffusion, bpe: ClipBPE) -> None:
    modes: list[Emphasis] = ["Original", "No norm", "Ignore", "None"]
    first, *others = (encode_prompt(tiny.text_encoder, bpe, [("a cat", 1.0)], emphasis=mode) for mode in modes)
    assert all(torch.equal(first, other) for other in others)


def test_weights_multiply_and_original_restores_the_mean(tiny: StableDiffusion, bpe: ClipBPE) -> None:
    pieces = [("a ", 1.0), ("cat", 1.5)]
    plain, scaled, original = (
        encode_prompt(tiny.text_encoder, bpe, pieces, emphasis=mode) for mode in ("Ignore", "No norm", "Original")
    )
    weights = torch.ones(77, 1)
    weights[2] = 1.5  # start, a, cat
    assert torch.equal(scaled, plain * weights)
    torch.testing.assert_close(original, scaled * (plain.mean() / scaled.mean()))
    assert float(original.mean()) == pytest.approx(float(plain.mean()), abs=1e-6)


@pytest.mark.parametrize(("clip_skip", "layer"), [(0, 2), (1, 2), (2, 1), (3, 1), (12, 1)])
def test_clip_skip_takes_an_earlier_layer_through_the_final_norm(
    clip_skip: int, layer: int, tiny: StableDiffusion, bpe: ClipBPE
) -> None:
    encoder = tiny.text_encoder
    tokens = torch.tensor([EMPTY_CHUNK.tokens])
    with torch.inference_mode():
        hidden = encoder(input_ids=tokens, output_hidden_states=True).hidden_states
        expected = encoder.final_layer_norm(hidden[layer])
    assert torch.equal(encode_chunks(encoder, [EMPTY_CHUNK], clip_skip, "Original"), expected)


def test_shorter_prompts_of_a_batch_are_filled_with_empty_chunks(tiny: StableDiffusion, bpe: ClipBPE) -> None:
    long, short, empty = [("a", 1.0), BREAK, ("b", 1.0)], [("a", 1.0)], [("", 1.0)]
    both = encode_prompts(tiny.text_encoder, bpe, [long, short])
    alone = [encode_prompt(tiny.text_encoder, bpe, prompt) for prompt in (long, short, empty)]
    assert both.shape == (2, 154, 16)
    torch.testing.assert_close(both[0], alone[0])
    torch.testing.assert_close(both[1], torch.cat([alone[1], alone[2]]))
    torch.testing.assert_close(torch.stack(match_lengths(alone[:2], alone[2])), both)
