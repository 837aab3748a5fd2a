"""Stable Diffusion XL compared with diffusers' pipelines and transformers' text encoders, on the same tiny weights."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportOptionalMemberAccess=false, reportIndexIssue=false
# transformers and diffusers declare narrower types for tensors and answers than they accept and return.

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file
from torch import Tensor

from modules.clip.bpe import END, START, ClipBPE
from modules.networks.conditioning import NOTHING, Conditioning
from modules.networks.device import Placement
from modules.networks.embeddings import EmbeddingCache
from modules.networks.files.embeddings import EmbeddingFiles
from modules.networks.files.listing import HashCache
from modules.networks.model import LoadTools, SizeConditioning, TextOptions
from modules.networks.sdxl.checkpoint import load
from modules.networks.sdxl.model import StableDiffusionXL
from modules.sampling.samplers import SamplerOptions, euler
from modules.schema.catalog import Checkpoint
from tests.tiny_line import LARGE, PROJECTION, SMALL, Tiny, save_single, tiny_refiner, tiny_xl

# diffusers' scheduler takes logarithms in a way that numpy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


STEPS, CFG, SIDE = 4, 2.0, 64
CAT, DOG = "a cat on a mat", "dogs"
SIZE = SizeConditioning(SIDE, SIDE)


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    return tiny_xl()


def loaded(tiny: Tiny, folder: Path, place: Placement, bpe: ClipBPE, **marks: Any) -> StableDiffusionXL:
    path = save_single(tiny, folder / "xl.safetensors", extra=marks)
    return load(Checkpoint("xl", path), LoadTools(place, bpe, HashCache(folder / "hashes.json")))


@pytest.fixture(scope="module")
def xl(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory, place: Placement, bpe: ClipBPE) -> StableDiffusionXL:
    return loaded(tiny, tmp_path_factory.mktemp("xl"), place, bpe)


def encoded(model: StableDiffusionXL, text: str, **options: Any) -> Conditioning:
    return model.encode_prompts([text], TextOptions(**{"size_conditioning": SIZE} | options)).cond


def plain(tiny: Tiny, bpe: ClipBPE, text: str) -> tuple[Tensor, Tensor]:
    """(tokens, pooled) as transformers encodes a short prompt for diffusers' pipeline."""
    ids = [START, *bpe.encode(text), END]
    states: list[Tensor] = []
    pooled = torch.empty(0)
    for encoder, pad in zip(tiny.texts[-2:], (END, 0)[-len(tiny.texts) :], strict=True):
        row = torch.tensor([[*ids, *[pad] * (77 - len(ids))]])
        output = encoder(row, output_hidden_states=True)
        states.append(output.hidden_states[-2])
        pooled = getattr(output, "text_embeds", pooled)
    return torch.cat(states, dim=-1), pooled


# ---- prompts ----


def test_plain_prompts_are_read_as_transformers_does(tiny: Tiny, xl: StableDiffusionXL, bpe: ClipBPE) -> None:
    cond = encoded(xl, CAT)
    tokens, pooled = plain(tiny, bpe, CAT)
    assert (cond.tokens.shape, tuple(pooled.shape)) == ((1, 77, SMALL + LARGE), (1, PROJECTION))
    torch.testing.assert_close(cond.tokens, tokens)
    torch.testing.assert_close(cond.pooled, pooled)


def test_long_prompts_have_the_first_chunks_summary(xl: StableDiffusionXL) -> None:
    long = ", ".join(["a cat on a mat"] * 20)
    cond, first = encoded(xl, long), encoded(xl, f"{long} BREAK another")
    assert cond.tokens.shape[1] == 154
    torch.testing.assert_close(cond.pooled, first.pooled)
    assert encoded(xl, f"{CAT} BREAK {DOG}").pooled.equal(encoded(xl, CAT).pooled)


def test_weights_keep_the_mean_of_each_text_encoder_apart_and_leave_the_summary(xl: StableDiffusionXL) -> None:
    plain, heavy = encoded(xl, CAT), encoded(xl, "a (cat:1.7) on a mat")
    for part in (slice(0, SMALL), slice(SMALL, None)):
        ours, theirs = heavy.tokens[..., part], plain.tokens[..., part]
        assert not torch.allclose(ours, theirs)
        torch.testing.assert_close(ours.mean(), theirs.mean(), rtol=1e-4, atol=1e-6)
    assert heavy.pooled.equal(plain.pooled)
    unscaled = encoded(xl, "a (cat:1.7) on a mat", emphasis="No norm").tokens
    at = 2  # start, a, cat
    torch.testing.assert_close(unscaled[0, at], 1.7 * plain.tokens[0, at])
    torch.testing.assert_close(unscaled[0, at + 1], plain.tokens[0, at + 1])


def test_clip_skip_counts_for_the_smaller_encoder_alone_and_only_where_it_is_asked(
    tiny: Tiny, xl: StableDiffusionXL, bpe: ClipBPE
) -> None:
    usual = encoded(xl, CAT)
    assert encoded(xl, CAT, clip_skip=3).tokens.equal(usual.tokens)
    skipped = encoded(xl, CAT, clip_skip=3, clip_l_skip=True).tokens
    assert skipped[..., SMALL:].equal(usual.tokens[..., SMALL:])
    ids = [START, *bpe.encode(CAT), END]
    hidden = tiny.texts[0](torch.tensor([[*ids, *[END] * (77 - len(ids))]]), output_hidden_states=True).hidden_states
    torch.testing.assert_close(skipped[..., :SMALL], hidden[-3])
    last = encoded(xl, CAT, clip_skip=1, clip_l_skip=True).tokens
    torch.testing.assert_close(last[..., :SMALL], hidden[-1])


def test_no_negative_prompt_is_nothing_at_all(xl: StableDiffusionXL) -> None:
    nothing = encoded(xl, "", is_negative=True)
    assert not nothing.tokens.any()
    assert not nothing.pooled.any()
    assert encoded(xl, "").tokens.any()
    assert encoded(xl, " ", is_negative=True).tokens.any()


def test_sizes_and_crops_are_told_in_rows_and_columns(xl: StableDiffusionXL) -> None:
    size_conditioning = SizeConditioning(width=640, height=384, crop_top=5, crop_left=7)
    assert encoded(xl, CAT, size_conditioning=size_conditioning).size_ids.tolist() == [[384, 640, 5, 7, 384, 640]]
    assert encoded(xl, CAT, size_conditioning=None).size_ids.tolist() == [[1024, 1024, 0, 0, 1024, 1024]]


def test_an_embedding_has_vectors_for_both_text_encoders(tiny: Tiny, xl: StableDiffusionXL, tmp_path: Path) -> None:
    cat = xl.tokenizer.encode("cat")
    own = {f"clip_{part}": text.get_input_embeddings().weight[cat] for part, text in zip("lg", tiny.texts, strict=True)}
    save_file(own, tmp_path / "feline.safetensors")
    embeddings = EmbeddingCache()
    embeddings.offer(EmbeddingFiles([tmp_path]).found())
    read = xl.encode_prompts(["a feline on a mat"], TextOptions(size_conditioning=SIZE, words=xl.words(embeddings)))
    assert [word.name for word in read.words] == ["feline"]
    expected = encoded(xl, CAT)
    torch.testing.assert_close(read.cond.tokens, expected.tokens)
    torch.testing.assert_close(read.cond.pooled, expected.pooled)


# ---- sampling ----


def denoiser(model: StableDiffusionXL, cond: Conditioning, uncond: Conditioning) -> Any:
    both = Conditioning.joined([cond, uncond])

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        positive, negative = model.predict(x, sigma, both, NOTHING).chunk(2)
        return negative + CFG * (positive - negative)

    return denoise


def sampled(model: StableDiffusionXL, cond: Conditioning, uncond: Conditioning, x: Tensor, sigmas: Tensor) -> Tensor:
    *_, last = euler(denoiser(model, cond, uncond), x, sigmas, noise=None, options=SamplerOptions())
    return last.x


def scheduler(tiny: Tiny, **changes: Any) -> EulerDiscreteScheduler:
    return EulerDiscreteScheduler(**dict(tiny.scheduler) | {"timestep_spacing": "linspace"} | changes)


def pipeline(kind: Any, tiny: Tiny, **changes: Any) -> Any:
    texts = dict(zip(("text_encoder_2", "text_encoder"), reversed(tiny.texts), strict=False))
    pipe = kind(
        vae=tiny.vae, unet=tiny.unet, tokenizer=None, tokenizer_2=None, scheduler=scheduler(tiny, **changes),
        **{"text_encoder": None} | texts,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    """Within a thousandth of the standard deviation.

    GroupNorm is less exact in the faster memory format, so each evaluation differs in the fourth digit.
    """
    assert float((ours - theirs).abs().max()) < 1e-3 * float(theirs.std())


@pytest.mark.parametrize("negative", [DOG, ""])
def test_a_picture_from_text_is_diffusers(negative: str, tiny: Tiny, xl: StableDiffusionXL, bpe: ClipBPE) -> None:
    sigmas = xl.noise.uniform_sigmas(STEPS)
    noise = torch.randn(1, 4, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(1))
    ours = sampled(xl, encoded(xl, CAT), encoded(xl, negative, is_negative=True), noise * sigmas[0], sigmas)
    (tokens, pooled), (against, summary) = plain(tiny, bpe, CAT), plain(tiny, bpe, DOG)
    given = {"negative_prompt_embeds": against, "negative_pooled_prompt_embeds": summary} if negative else {}
    theirs = pipeline(StableDiffusionXLPipeline, tiny)(
        prompt_embeds=tokens, pooled_prompt_embeds=pooled, **given, guidance_scale=CFG, sigmas=sigmas.tolist(),
        num_inference_steps=STEPS, latents=noise.clone(), height=SIDE, width=SIDE, output_type="latent",
    ).images  # fmt: skip
    assert_close(ours, theirs)


@pytest.mark.parametrize("is_v", [False, True])
def test_a_picture_from_a_picture_is_diffusers(
    is_v: bool, tiny: Tiny, place: Placement, bpe: ClipBPE, tmp_path: Path
) -> None:
    marks = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)} if is_v else {}
    xl = loaded(tiny, tmp_path, place, bpe, **marks)
    assert xl.noise.prediction == ("v_prediction" if is_v else "epsilon")
    sigmas = xl.noise.uniform_sigmas(STEPS)
    source = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2)) * 2 - 1
    start = xl.encode(source).mean
    reference = tiny.vae.encode(source).latent_dist.mean * tiny.vae.config.scaling_factor
    torch.testing.assert_close(start, reference, rtol=1e-4, atol=1e-4)
    noise = torch.randn(start.shape, generator=torch.Generator().manual_seed(3))
    ours = sampled(xl, encoded(xl, CAT), encoded(xl, DOG), start + noise * sigmas[2], sigmas[2:])
    (tokens, pooled), (against, summary) = plain(tiny, bpe, CAT), plain(tiny, bpe, DOG)
    kind = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True} if is_v else {}
    pipe = pipeline(StableDiffusionXLImg2ImgPipeline, tiny, **kind)
    # diffusers rescales in fp32 via beta: another thousandth of a timestep.
    pipe.scheduler.alphas_cumprod = xl.noise.alphas_cumprod
    theirs = pipe(
        image=reference, strength=0.5, prompt_embeds=tokens, pooled_prompt_embeds=pooled,
        negative_prompt_embeds=against, negative_pooled_prompt_embeds=summary, guidance_scale=CFG,
        sigmas=sigmas.tolist(), num_inference_steps=STEPS, generator=torch.Generator().manual_seed(3),
        original_size=(SIDE, SIDE), target_size=(SIDE, SIDE), output_type="latent",
    ).images  # fmt: skip
    assert_close(ours, theirs)


def test_the_refiners_picture_is_diffusers(place: Placement, bpe: ClipBPE, tmp_path: Path) -> None:
    tiny = tiny_refiner()
    refiner = loaded(tiny, tmp_path, place, bpe)
    sigmas = refiner.noise.uniform_sigmas(STEPS)
    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    noise = torch.randn(start.shape, generator=torch.Generator().manual_seed(3))
    cond, uncond = (encoded(refiner, text, size_conditioning=replace(SIZE, aesthetic_score=score))
                    for text, score in ((CAT, 6.0), (DOG, 2.5)))  # fmt: skip
    ours = sampled(refiner, cond, uncond, start + noise * sigmas[2], sigmas[2:])
    (tokens, pooled), (against, summary) = plain(tiny, bpe, CAT), plain(tiny, bpe, DOG)
    pipe = pipeline(StableDiffusionXLImg2ImgPipeline, tiny)
    pipe.register_to_config(requires_aesthetics_score=True)
    theirs = pipe(
        image=start, strength=0.5, prompt_embeds=tokens, pooled_prompt_embeds=pooled,
        negative_prompt_embeds=against, negative_pooled_prompt_embeds=summary, guidance_scale=CFG,
        sigmas=sigmas.tolist(), num_inference_steps=STEPS, generator=torch.Generator().manual_seed(3),
        original_size=(SIDE, SIDE), target_size=(SIDE, SIDE), output_type="latent",
    ).images  # fmt: skip
    assert_close(ours, theirs)


def test_a_decoded_picture_is_diffusers(tiny: Tiny, xl: StableDiffusionXL) -> None:
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    theirs = tiny.vae.decode(latents / tiny.vae.config.scaling_factor).sample
    torch.testing.assert_close(xl.decode(latents), (theirs / 2 + 0.5).clamp(0, 1), rtol=1e-4, atol=1e-4)
