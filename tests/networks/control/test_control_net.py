"""ControlNets: their files in three naming schemes; their residuals and a whole picture compared with diffusers'
own.
"""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportOptionalMemberAccess=false
# diffusers declares narrower types for tensors and answers than it accepts and returns.

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel
from safetensors.torch import save_file
from torch import Tensor

from modules.base.errors import WebuiError
from modules.clip.bpe import ClipBPE
from modules.networks.conditioning import NOTHING, Conditioning, Extra
from modules.networks.control.layout import LDM_SIGN, ldm_name
from modules.networks.control.network import Control, ControlNet, layer_weights, load_control_net
from modules.networks.device import Placement
from modules.networks.files.listing import HashCache
from modules.networks.ldm.model import LatentDiffusion
from modules.networks.model import LoadTools, TextOptions
from modules.networks.sd2.checkpoint import load as load_sd2
from modules.networks.sdxl.checkpoint import load as load_sdxl
from modules.schema.catalog import Checkpoint
from tests.tiny_line import Tiny, save_single, tiny_sd2, tiny_xl

HINTS = (8, 12, 16, 24)  # widths of the tiny hint embedding
SPELLINGS = {"diffusers": None, "LDM": "", "cut out of a checkpoint": "control_model."}
FAMILIES = {"sd2": (tiny_sd2, load_sd2), "sdxl": (tiny_xl, load_sdxl)}


def control_net_for(tiny: Tiny, seed: int = 7) -> ControlNetModel:
    """A ControlNet for the tiny UNet; its layers that are initially zero are random too."""
    torch.manual_seed(seed)
    made = ControlNetModel.from_unet(tiny.unet, conditioning_embedding_out_channels=HINTS)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "controlnet_" in name:
                parameter.normal_(std=0.3)
    return made.eval().requires_grad_(False)


def saved(net: ControlNetModel, path: Path, prefix: str | None, dtype: torch.dtype = torch.float32) -> Path:
    """The network's file; `prefix` None uses diffusers' names, otherwise LDM's with that prefix."""
    tensors = net.state_dict()
    if prefix is not None:
        tensors = {prefix + ldm_name(name, net.config): tensor for name, tensor in tensors.items()}
    if path.suffix == ".pth":
        torch.save({"state_dict": tensors}, path)
    else:
        save_file({name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}, path)
    return path


@pytest.fixture(scope="module", params=FAMILIES)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, bpe: ClipBPE
) -> tuple[Tiny, LatentDiffusion]:
    make, load = FAMILIES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    tiny, place = make(), Placement(torch.device("cpu"), torch.float32, torch.float32, torch.float32)
    path = save_single(tiny, folder / "model.safetensors")
    return tiny, load(Checkpoint(path.name, path), LoadTools(place, bpe, HashCache(folder / "hashes.json")))


def prompts(model: LatentDiffusion) -> tuple[Conditioning, Conditioning]:
    return (
        model.encode_prompts(["a red fox"], TextOptions()).cond,
        model.encode_prompts(["blue"], TextOptions(is_negative=True)).cond,
    )


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def hint_of(model: LatentDiffusion, cells: int = 8) -> Tensor:
    return torch.rand(1, 3, cells * 8, cells * 8, generator=torch.Generator().manual_seed(5))


def control(net: ControlNet, hint: Tensor, weight: float = 1.0, is_soft: bool = False, is_for_prompt: bool = False):
    count = len(net.network.controlnet_down_blocks) + 1
    return Control(net, net.embedded(hint), layer_weights(count, weight, is_soft), lambda: True, is_for_prompt)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_residuals_equal_diffusers_whatever_the_file_calls_its_layers(
    case: tuple[Tiny, LatentDiffusion], spelling: str, tmp_path: Path
) -> None:
    tiny, model = case
    theirs = control_net_for(tiny).to(memory_format=torch.channels_last)  # as in ours; the order of sums changes 3e-4
    net = load_control_net(saved(theirs, tmp_path / "c.safetensors", SPELLINGS[spelling]), model.unet, model.place)
    x, time, hint = drawn(2, 4, 8, 8), torch.tensor([500.0, 500.0]), hint_of(model)
    cond = Conditioning.joined(prompts(model))
    added_cond = model.added_cond(cond)
    down, middle = theirs(x, time, cond.tokens, hint, conditioning_scale=0.7, return_dict=False, **added_cond)
    ours = control(net, hint, 0.7).residuals(x, time, cond, added_cond, 1)
    for one, other in zip((*down, middle), ours, strict=True):
        assert float((other - one).abs().max()) < 1e-4 * float(one.std())


def test_a_prediction_equals_diffusers_unet_with_these_residuals(
    case: tuple[Tiny, LatentDiffusion], tmp_path: Path
) -> None:
    tiny, model = case
    theirs = control_net_for(tiny)
    net = load_control_net(saved(theirs, tmp_path / "c.safetensors", None), model.unet, model.place)
    x, sigma, hint = drawn(1, 4, 8, 8), torch.tensor([3.0]), hint_of(model)
    cond = Conditioning.joined(prompts(model))
    ours = model.predict(x, sigma, cond, Extra(controls=(control(net, hint),), negative_rows=1))
    seen, time = torch.cat([x * model.noise.c_in(sigma)] * 2), torch.cat([model.noise.time(sigma)] * 2)
    added_cond = model.added_cond(cond)
    down, middle = theirs(seen, time, cond.tokens, hint, return_dict=False, **added_cond)
    output = tiny.unet(
        seen,
        time,
        cond.tokens,
        down_block_additional_residuals=down,
        mid_block_additional_residual=middle,
        return_dict=False,
        **added_cond,
    )[0]
    expected = model.noise.denoised(x, sigma, output.unflatten(0, (2, -1))).flatten(0, 1)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(ours, model.predict(x, sigma, cond, NOTHING), atol=1e-2)


def test_two_controls_add_and_none_changes_nothing(case: tuple[Tiny, LatentDiffusion], tmp_path: Path) -> None:
    tiny, model = case
    nets = [
        load_control_net(
            saved(control_net_for(tiny, seed), tmp_path / f"{seed}.safetensors", ""), model.unet, model.place
        )
        for seed in (7, 8)
    ]
    x, sigma, hint = drawn(1, 4, 8, 8), torch.tensor([3.0]), hint_of(model)
    cond = Conditioning.joined(prompts(model))
    both = tuple(control(net, hint) for net in nets)
    added_cond, time = model.added_cond(cond), torch.cat([model.noise.time(sigma)] * 2)
    seen = torch.cat([x * model.noise.c_in(sigma)] * 2)
    sums = [a + b for a, b in zip(*(each.residuals(seen, time, cond, added_cond, 1) for each in both), strict=True)]
    as_residuals = Extra().with_residuals(sums[:-1], sums[-1])
    ours = model.predict(x, sigma, cond, Extra(controls=both, negative_rows=1))
    torch.testing.assert_close(ours, model.predict(x, sigma, cond, as_residuals), atol=1e-5, rtol=1e-5)

    silent = tuple(replace(each, acts=lambda: False) for each in both)
    plain = model.predict(x, sigma, cond, NOTHING)
    assert torch.equal(model.predict(x, sigma, cond, Extra(controls=silent)), plain)


def test_control_for_the_prompt_leaves_the_negative_prompt_alone(
    case: tuple[Tiny, LatentDiffusion], tmp_path: Path
) -> None:
    tiny, model = case
    net = load_control_net(saved(control_net_for(tiny), tmp_path / "c.pth", "control_model."), model.unet, model.place)
    x, sigma = drawn(1, 4, 8, 8), torch.tensor([3.0])
    cond = Conditioning.joined(prompts(model))
    plain = model.predict(x, sigma, cond, NOTHING)
    steered = control(net, hint_of(model), is_for_prompt=True)
    ours = model.predict(x, sigma, cond, Extra(controls=(steered,), negative_rows=1))
    torch.testing.assert_close(ours[1], plain[1], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(ours[0], plain[0], atol=1e-2)


def test_the_shuffle_model_passes_no_places(case: tuple[Tiny, LatentDiffusion], tmp_path: Path) -> None:
    tiny, model = case
    path = saved(control_net_for(tiny), tmp_path / "control_v11e_sd15_shuffle.safetensors", None)
    net = load_control_net(path, model.unet, model.place)
    cond = Conditioning.joined(prompts(model))
    added_cond, time = model.added_cond(cond), torch.tensor([500.0, 500.0])
    for each in control(net, hint_of(model)).residuals(drawn(2, 4, 8, 8), time, cond, added_cond, 1):
        assert each.shape[2:] == (1, 1)
        assert not each[1].any()  # and affects only the prompt


@pytest.mark.parametrize("count", [13, 10])
def test_soft_weights_are_a1111s(count: int) -> None:
    assert layer_weights(count, 0.5, True) == tuple(0.5 * 0.825 ** (12 - i) for i in range(count))
    assert layer_weights(count, 0.5, False) == (0.5,) * count


def broken(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    key = next(key for key in tensors if key.endswith("zero_convs.1.0.weight"))
    if name == "no ControlNet":
        return {"weight": torch.zeros(2, 2)}
    if name == "a missing layer":
        return {other: tensor for other, tensor in tensors.items() if other != key}
    if name == "another shape":
        return tensors | {key: torch.zeros(3, 3)}
    if name == "NaN":
        return tensors | {key: torch.full_like(tensors[key], torch.nan)}
    return {LDM_SIGN: torch.zeros(16, 3, 3, 3)}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("no ControlNet", "holds no ControlNet"),
        ("a missing layer", r"zero_convs\.1\.0\.weight"),
        ("another shape", r"has the shape \[3, 3\]"),
        ("NaN", "contains NaN"),
        ("only its sign", "c.safetensors"),
    ],
)
def test_a_damaged_file_is_one_sentence(
    case: tuple[Tiny, LatentDiffusion], name: str, sentence: str, tmp_path: Path
) -> None:
    tiny, model = case
    net = control_net_for(tiny)
    tensors = {ldm_name(each, net.config): tensor for each, tensor in net.state_dict().items()}
    save_file({key: tensor.contiguous() for key, tensor in broken(name, tensors).items()}, tmp_path / "c.safetensors")
    with pytest.raises(WebuiError, match=sentence):
        load_control_net(tmp_path / "c.safetensors", model.unet, model.place)


def test_a_control_net_of_another_family_says_so(case: tuple[Tiny, LatentDiffusion], tmp_path: Path) -> None:
    model = case[1]
    makers: dict[str, Callable[[], Tiny]] = {"sd2": tiny_xl, "sdxl": tiny_sd2}
    other = control_net_for(makers[model.family.name]())
    with pytest.raises(WebuiError, match="made for another family of checkpoints") as caught:
        load_control_net(saved(other, tmp_path / "c.safetensors", ""), model.unet, model.place)
    assert caught.value.field == "controlnet"
