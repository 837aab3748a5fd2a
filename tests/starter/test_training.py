"""Training on tiny networks: steps reduce the loss, an interrupted run continues, the text encoder starts as a bag of
words.
"""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from modules.starter.diffusion import alphas_cumprod, dpmpp_2m, karras_sigmas, timestep
from modules.starter.nets import Widths, grown, new_text_encoder, new_unet, new_vae, warm_start_text
from modules.starter.spec import FIRST, random_spec
from modules.starter.train_unet import Pool, Recipe, Trainer, cell_weights, new_networks, train
from modules.starter.train_vae import VaeRecipe, psnr, to_tensor, train_vae, warm_start
from modules.starter.vocabulary import Vocabulary
from modules.starter.world import draw

TINY = Widths(
    unet=(8, 16),
    unet_groups=4,
    heads=2,
    vae=(8, 8, 8, 8),
    vae_groups=1,
    text=32,
    text_layers=1,
    text_heads=2,
    text_feed_forward=32,
)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.of_the_world()


def test_steps_lower_the_loss(vocabulary: Vocabulary) -> None:
    torch.manual_seed(0)
    rng = random.Random(0)
    recipe = Recipe(minutes=1, batch=4, first_latents=8)
    pool = Pool(recipe, new_vae(TINY).eval(), 64, 64, rng)
    trainer = Trainer(recipe, new_networks(TINY, vocabulary), vocabulary, rng)
    losses = [trainer.step(pool.take(4), 5e-3) for _ in range(60)]
    assert sum(losses[-15:]) < 0.8 * sum(losses[:15])


def test_latents_are_used_as_often_as_the_recipe_says() -> None:
    rng = random.Random(1)
    pool = Pool(Recipe(minutes=1, reuse=4, pool=50, first_latents=8), new_vae(TINY).eval(), 64, 64, rng)
    taken = [id(sample) for _ in range(12) for sample in pool.take(8)]
    assert len(taken) == 96
    assert 24 <= len(set(taken)) <= 32


def test_a_cut_run_goes_on_where_it_stopped(tmp_path: Path, vocabulary: Vocabulary) -> None:
    torch.save({"average": new_vae(TINY).state_dict()}, tmp_path / "vae.pt")
    recipe = Recipe(minutes=0.02, batch=4, sizes=((64, 64, 1.0),), workers=1, pool=16, first_latents=8)
    train(tmp_path, recipe, TINY)
    first = torch.load(tmp_path / "unet.pt", weights_only=True)
    train(tmp_path, recipe, TINY)
    second = torch.load(tmp_path / "unet.pt", weights_only=True)
    assert first["samples"] > 0
    assert second["samples"] > first["samples"]
    assert second["seconds"] > first["seconds"]
    steps = torch.load(tmp_path / "optimizer0.pt", weights_only=True)["steps"]
    assert steps * 4 == second["samples"]
    assert (tmp_path / "loss.png").exists()
    assert len(list((tmp_path / "sheets").glob("*.png"))) == 2


def test_faces_count_more_and_all_cells_one_on_average() -> None:
    spec = random_spec(random.Random(2), FIRST, portrait=True)
    weights = cell_weights(spec, 128, 128, 1.0)
    assert weights.shape == (16, 16)
    assert weights.mean() == pytest.approx(1)
    assert weights[8, 8] > weights[0, 0]
    assert torch.equal(cell_weights(replace(spec, person=None), 128, 64, 1.0), torch.ones(8, 16))


def test_a_grown_network_answers_at_twice_the_size_as_the_old_one_did() -> None:
    torch.manual_seed(0)
    small = new_unet(replace(TINY, unet=(16, 32)))
    for parameter in small.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    widths = replace(TINY, unet=(16, 16, 32))
    large = new_unet(widths)
    large.load_state_dict(grown(small.state_dict(), widths))
    latent, step, context = torch.randn(2, 4, 8, 8), torch.tensor([500, 300]), torch.randn(2, 5, TINY.text)
    with torch.no_grad():
        answer = small(latent, step, context).sample
        twice = latent.repeat_interleave(2, 2).repeat_interleave(2, 3)
        larger = torch.nn.functional.avg_pool2d(large(twice, step, context).sample, 2)
    likeness = torch.corrcoef(torch.stack([answer[..., 1:-1, 1:-1].flatten(), larger[..., 1:-1, 1:-1].flatten()]))[0, 1]
    assert likeness > 0.4


def test_the_text_encoder_begins_as_a_bag_of_words(vocabulary: Vocabulary) -> None:
    torch.manual_seed(0)
    text = new_text_encoder(replace(TINY, text=64, text_heads=2), vocabulary.size)
    warm_start_text(text, vocabulary.silent)
    prompts = ("girl, pink hair", "pink hair, girl", "boy, blue sky")
    same, other, different = text(torch.tensor([vocabulary.encode(p) for p in prompts])).last_hidden_state[:, -1]
    assert torch.cosine_similarity(same, other, dim=0) > 0.95
    assert torch.cosine_similarity(same, different, dim=0) < torch.cosine_similarity(same, other, dim=0) - 0.1


def test_the_autoencoder_begins_as_a_blur_not_as_noise() -> None:
    torch.manual_seed(0)
    vae = new_vae(Widths())
    warm_start(vae)
    pictures = to_tensor([draw(random_spec(random.Random(seed), FIRST, style="flat"), 128) for seed in range(3)])
    decibels, _ = psnr(vae.eval(), pictures)
    assert decibels.min() > 14


@pytest.mark.slow
def test_autoencoder_training_resumes_and_whitening_leaves_pictures_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tiny = replace(Widths(), vae=(16, 16, 16, 16))
    train_vae(tmp_path, VaeRecipe(minutes=0.01, batch=1, workers=1), tiny)
    before = train_vae(tmp_path, VaeRecipe(minutes=0.01, batch=1, stage="decoder", workers=1), tiny)
    after = train_vae(tmp_path, VaeRecipe(minutes=0, stage="whiten"), tiny)
    assert after == pytest.approx(before, abs=0.02)


def test_the_sampler_lands_on_the_mean_of_a_known_gaussian() -> None:
    # For data N(2, 0.5^2) the best noise estimate is known, so samples must have that mean and deviation.
    alphas = alphas_cumprod()
    mean, deviation = 2.0, 0.5

    def eps(scaled: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        logs = ((1 - alphas) / alphas).sqrt().log()
        low = int(step)
        sigma = torch.exp(logs[low] + (step - low) * (logs[min(low + 1, 999)] - logs[low]))
        x = scaled * (sigma**2 + 1).sqrt()
        return (x - mean) * sigma / (sigma**2 + deviation**2)

    sigmas = karras_sigmas(30, alphas)
    x = mean + torch.randn(4000, generator=torch.Generator().manual_seed(0)) * sigmas[0]
    result = dpmpp_2m(eps, x, sigmas, alphas)
    assert float(result.mean()) == pytest.approx(mean, abs=0.03)
    assert float(result.std()) == pytest.approx(deviation, rel=0.05)


def test_noise_levels_of_the_table_are_whole_steps() -> None:
    alphas = alphas_cumprod()
    sigmas = ((1 - alphas) / alphas).sqrt()
    assert [float(timestep(sigmas[i], alphas)) for i in (0, 1, 500, 999)] == pytest.approx([0, 1, 500, 999], abs=0.01)
