"""Merging, compared with A1111's rules on whole tensors, and interrupted in the middle."""

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from modules.base.errors import WebuiError
from modules.networks.merging import arithmetic, partial
from modules.networks.merging.blocks import parse_block_weights
from modules.networks.merging.merge import Merged, Stopped, merge
from modules.networks.merging.planning import discards
from modules.networks.merging.recipe import Method, Recipe, Source, merge_notes

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer.text_model."
CONV = f"{UNET}input_blocks.0.0.weight"
ATTENTION = f"{UNET}output_blocks.3.1.transformer_blocks.0.attn2.to_k.weight"
Tensors = dict[str, Tensor]


def checkpoint(seed: int, channels: int = 4, dtype: torch.dtype = torch.float32) -> Tensors:
    """A few tensors from each part of a Stable Diffusion 1 checkpoint."""
    draw = torch.Generator().manual_seed(seed)
    shapes = {
        CONV: (8, channels, 3, 3),
        ATTENTION: (8, 6),
        f"{UNET}time_embed.0.bias": (5,),
        f"{UNET}middle_block.0.in_layers.2.weight": (4, 4, 3, 3),
        f"{UNET}out.2.bias": (4,),
        f"{VAE}decoder.conv_in.weight": (8, 4, 3, 3),
        f"{TEXT}embeddings.token_embedding.weight": (11, 7),
    }
    tensors: Tensors = {key: torch.randn(shape, generator=draw).to(dtype) for key, shape in shapes.items()}
    tensors[f"{TEXT}embeddings.position_ids"] = torch.arange(7)[None] + seed
    tensors["alphas_cumprod"] = torch.randn(3, generator=draw)  # no "model" in its name
    return tensors


def written(folder: Path, name: str, tensors: Tensors, metadata: Mapping[str, str] | None = None) -> Path:
    path = folder / f"{name}.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, dict(metadata or {}))
    return path


def result_of(recipe: Recipe) -> Tensors:
    *_, last = merge(recipe, lambda: False)
    assert isinstance(last, Merged)
    assert last.size == last.path.stat().st_size
    return load_file(last.path)


def a1111(method: Method, m: float, n: float, a: Tensor, *others: Tensor) -> Tensor:
    """The functions of A1111's merger, and the two that it lacks, for whole tensors."""
    if method == "Weighted sum":
        return (1 - m) * a + m * others[0]
    if method == "Add difference":
        return a + m * (others[0] - others[1])
    if method == "Triple sum":
        return (1 - m - n) * a + m * others[0] + n * others[1]
    cosine = torch.nn.functional.cosine_similarity(a.flatten().double(), others[0].flatten().double(), dim=0)
    angle = torch.arccos(cosine)
    parts = torch.sin((1 - m) * angle) * a.double() + torch.sin(m * angle) * others[0].double()
    return (parts / torch.sin(angle)).to(a.dtype)


@pytest.mark.parametrize("method", ["Weighted sum", "Add difference", "SLERP", "Triple sum"])
def test_each_method_follows_its_formula_and_a1111s_rules_for_keys(tmp_path: Path, method: Method) -> None:
    a, b, c = checkpoint(1), checkpoint(2), checkpoint(3)
    a[f"{UNET}only.in.a"] = torch.ones(3)
    b[f"{UNET}only.in.b"] = torch.ones(3)
    if method in ("Add difference", "Triple sum"):
        del c[f"{UNET}out.2.bias"]
    count = 3 if method in ("Add difference", "Triple sum") else 2
    files = [written(tmp_path, name, each) for name, each in zip("abc", (a, b, c), strict=True)][:count]
    merged = result_of(Recipe(tuple(files), tmp_path / "m.safetensors", method, 0.3, 0.25))
    assert set(merged) == set(a)
    for key, tensor in merged.items():
        others = [each[key] for each in (b, c)[: count - 1] if key in each]
        is_kept = "model" not in key or key.endswith("position_ids") or len(others) < count - 1
        expected = a[key] if is_kept else a1111(method, 0.3, 0.25, a[key], *others)
        tolerance = 1e-6 if method == "SLERP" else 0.0
        torch.testing.assert_close(tensor, expected, rtol=tolerance, atol=tolerance)


def test_large_tensors_are_worked_on_in_slices_to_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = checkpoint(1, dtype=torch.float16), checkpoint(2, dtype=torch.bfloat16)
    files = written(tmp_path, "a", a), written(tmp_path, "b", b)
    whole = result_of(Recipe(files, tmp_path / "whole.safetensors", "SLERP", 0.4))
    monkeypatch.setattr(arithmetic, "SLICE", 7)
    sliced = result_of(Recipe(files, tmp_path / "sliced.safetensors", "SLERP", 0.4))
    assert (tmp_path / "whole.safetensors").read_bytes() == (tmp_path / "sliced.safetensors").read_bytes()
    assert sliced[ATTENTION].dtype == torch.float32  # as torch promotes fp16 with bf16
    assert set(whole) == set(a)


@pytest.mark.parametrize(("channels", "word"), [(9, "inpainting"), (8, "instruct-pix2pix")])
def test_the_common_channels_of_an_inpainting_model_are_merged(tmp_path: Path, channels: int, word: str) -> None:
    a, b, c = checkpoint(1, channels), checkpoint(2), checkpoint(3)
    files = [written(tmp_path, name, each) for name, each in zip("abc", (a, b, c), strict=True)]
    recipe = Recipe(tuple(files), tmp_path / "m.safetensors", "Add difference", 1.0)
    merged = result_of(recipe)
    assert (tmp_path / f"m.{word}.safetensors").exists()
    assert merged[CONV].shape == (8, channels, 3, 3)
    assert torch.equal(merged[CONV][:, 4:], a[CONV][:, 4:])
    assert torch.equal(merged[CONV][:, :4], a[CONV][:, :4] + (b[CONV] - c[CONV]))
    with pytest.raises(WebuiError, match=f"A must be the {word} model"):
        result_of(replace(recipe, sources=(files[1], files[0]), method="Weighted sum"))


def test_blocks_have_weights_of_their_own(tmp_path: Path) -> None:
    weights = [0.9, *(0.01 * number for number in range(25))]
    blocks = parse_block_weights(", ".join(map(str, weights)))
    a, b = checkpoint(1), checkpoint(2)
    files = written(tmp_path, "a", a), written(tmp_path, "b", b)
    merged = result_of(Recipe(files, tmp_path / "m.safetensors", blocks=blocks))
    expected = {
        CONV: 0.0, ATTENTION: 0.16, f"{UNET}time_embed.0.bias": 0.0, f"{UNET}out.2.bias": 0.24,
        f"{UNET}middle_block.0.in_layers.2.weight": 0.12, f"{VAE}decoder.conv_in.weight": 0.9,
        f"{TEXT}embeddings.token_embedding.weight": 0.9,
    }  # fmt: skip
    for key, weight in expected.items():
        torch.testing.assert_close(merged[key], (1 - weight) * a[key] + weight * b[key], rtol=0, atol=1e-7)


def test_xl_has_weights_for_fewer_blocks_and_for_its_vae() -> None:
    blocks = parse_block_weights(" ".join(str(number / 100) for number in range(21)))
    assert blocks is not None
    told = [
        blocks.of(f"{UNET}{name}")
        for name in ("label_emb.0.0.bias", "input_blocks.8.0.x", "middle_block.1.x", "output_blocks.0.0.x", "out.0.x")
    ]
    assert told == [0.01, 0.09, 0.1, 0.11, 0.19]
    assert (blocks.of("conditioner.embedders.0.x"), blocks.of(f"{VAE}x")) == (0.0, 0.2)
    with pytest.raises(WebuiError, match="no value for the output block 9"):
        blocks.of(f"{UNET}output_blocks.9.0.x")


@pytest.mark.parametrize("text", ["0.5", "1, " * 24 + "1", "0 " * 25 + "x", "nan " * 26, "99 " * 20])
def test_other_block_weights_are_refused(text: str) -> None:
    with pytest.raises(WebuiError, match="block_weights"):
        parse_block_weights(text)


@pytest.mark.parametrize("save_as", ["fp32", "fp16", "bf16", "fp8_e4m3", "fp8_e5m2"])
def test_types_that_are_saved(tmp_path: Path, save_as: str) -> None:
    a = checkpoint(1)
    a[ATTENTION][0, 0] = 1e6  # beyond 16 and 8 bits
    path = written(tmp_path, "a", a)
    recipe = Recipe((path,), tmp_path / "m.safetensors", "No interpolation", save_as=save_as)  # type: ignore[arg-type]
    merged = result_of(recipe)
    wanted = {
        "fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "fp8_e4m3": torch.float8_e4m3fn,
        "fp8_e5m2": torch.float8_e5m2,
    }[save_as]  # fmt: skip
    small = torch.float16 if save_as.startswith("fp8") else wanted
    assert merged[ATTENTION].dtype == wanted
    assert merged[f"{UNET}out.2.bias"].dtype == merged[f"{VAE}decoder.conv_in.weight"].dtype == small
    assert merged[f"{TEXT}embeddings.position_ids"].dtype == torch.int64
    assert float(merged[ATTENTION][0, 0]) == min(
        float(torch.tensor(1e6).to(torch.bfloat16)), torch.finfo(wanted).max
    ) or (save_as == "fp32")
    assert torch.equal(merged[CONV].float(), a[CONV].to(wanted).float())


def test_a_vae_is_baked_in_under_either_spelling(tmp_path: Path) -> None:
    path = written(tmp_path, "a", checkpoint(1))
    plain = {
        "decoder.conv_in.weight": torch.full((8, 4, 3, 3), 2.0),
        "decoder.mid.attn_1.q.weight": torch.ones(8, 8, 1, 1),
    }
    vae = written(tmp_path, "vae", {**plain, "loss.discriminator": torch.ones(2)})
    merged = result_of(Recipe((path,), tmp_path / "m.safetensors", "No interpolation", vae=vae))
    assert torch.equal(merged[f"{VAE}decoder.conv_in.weight"], plain["decoder.conv_in.weight"])
    assert torch.equal(merged[f"{VAE}decoder.mid.attn_1.q.weight"], plain["decoder.mid.attn_1.q.weight"])
    assert not [key for key in merged if "loss" in key]
    unfit = written(tmp_path, "unfit", {"decoder.conv_in.weight": torch.ones(9, 4, 3, 3)})
    with pytest.raises(WebuiError, match=r"bake_in_vae: unfit.safetensors does not fit"):
        result_of(Recipe((path,), tmp_path / "n.safetensors", "No interpolation", vae=unfit))


def test_tensors_are_left_out_by_pattern_and_old_spellings_meet(tmp_path: Path) -> None:
    a, b = checkpoint(1), checkpoint(2)
    old = {key.replace(".text_model.", "."): tensor for key, tensor in b.items()}
    torch.save({"state_dict": old}, tmp_path / "old.ckpt")
    files = written(tmp_path, "a", a), tmp_path / "old.ckpt"
    merged = result_of(Recipe(files, tmp_path / "m.safetensors", multiplier=0.5, discard=r"^first_stage|alphas"))
    assert set(merged) == {key for key in a if not key.startswith((VAE, "alphas"))}
    key = f"{TEXT}embeddings.token_embedding.weight"
    assert torch.equal(merged[key], 0.5 * a[key] + 0.5 * b[key])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda b: b | {ATTENTION: torch.ones(8, 9)}, "attn2.to_k.weight has the shape"),
        (lambda b: {f"unrelated.{number}.weight": torch.ones(2, 2) for number in range(3)}, "no tensor in common"),
        (lambda b: b | {ATTENTION: torch.full((8, 6), math.nan)}, "NaN or infinite"),
        (lambda b: b | {f"{UNET}x.scale_weight": torch.ones(1)}, "quantized"),
        (lambda b: {"lora_unet_x.lora_down.weight": torch.ones(2, 2)}, "is a LoRA, not a checkpoint"),
    ],
)
def test_what_does_not_go_together_is_a_sentence(
    tmp_path: Path, change: Callable[[Tensors], Tensors], sentence: str
) -> None:
    files = written(tmp_path, "a", checkpoint(1)), written(tmp_path, "b", change(checkpoint(2)))
    with pytest.raises(WebuiError, match=sentence):
        result_of(Recipe(files, tmp_path / "m.safetensors"))
    assert not (tmp_path / "m.safetensors").exists()


def test_the_notes_are_a1111s(tmp_path: Path) -> None:
    first = Source("a.safetensors", written(tmp_path, "a", checkpoint(1)), "1" * 64, {})
    earlier = json.dumps({"3" * 64: {"name": "old"}})
    notes = {"sd_merge_models": earlier, "sd_merge_recipe": "{}"}
    second = Source("b.safetensors", written(tmp_path, "b", checkpoint(2)), "2" * 64, notes)
    told = merge_notes([first, second], {"interp_method": "Weighted sum"})
    assert json.loads(told["sd_merge_recipe"]) == {
        "type": "webui", "primary_model_hash": "1" * 64, "secondary_model_hash": "2" * 64,
        "tertiary_model_hash": None, "interp_method": "Weighted sum",
    }  # fmt: skip
    models = json.loads(told["sd_merge_models"])
    assert set(models) == {"1" * 64, "2" * 64, "3" * 64}
    assert models["2" * 64] == {"name": "b.safetensors", "legacy_hash": "e3b0c442", "sd_merge_recipe": {}}
    recipe = Recipe((first.path, second.path), tmp_path / "m.safetensors", metadata=told)
    result_of(recipe)
    with safe_open(recipe.target, "pt") as file:
        assert file.metadata() == {"format": "pt", **told}


# ---- interrupted and resumed ----


def cut_after(count: int) -> Callable[[], bool]:
    left = iter(range(count))
    return lambda: next(left, None) is None


@pytest.mark.parametrize("reads", [1, 4, 8])
def test_a_merge_that_was_stopped_goes_on_to_the_same_bytes(tmp_path: Path, reads: int) -> None:
    files = written(tmp_path, "a", checkpoint(1)), written(tmp_path, "b", checkpoint(2))
    result_of(Recipe(files, tmp_path / "whole.safetensors"))
    recipe = Recipe(files, tmp_path / "m.safetensors")
    with pytest.raises(Stopped, match=r"delete \.m\.safetensors\.merging"):
        list(merge(recipe, cut_after(reads)))
    assert not recipe.target.exists()
    told = list(merge(recipe, lambda: False))
    assert told[0].resumed == reads  # type: ignore[union-attr]
    assert recipe.target.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.safetensors", "b.safetensors", "m.safetensors", "whole.safetensors",
    ]  # fmt: skip


def test_another_recipe_or_changed_files_begin_anew(tmp_path: Path) -> None:
    files = written(tmp_path, "a", checkpoint(1)), written(tmp_path, "b", checkpoint(2))
    recipe = Recipe(files, tmp_path / "m.safetensors")
    with pytest.raises(Stopped):
        list(merge(recipe, cut_after(4)))
    merged = result_of(replace(recipe, multiplier=1.0))
    assert torch.equal(merged[CONV], checkpoint(2)[CONV])


def test_a_journal_that_lost_its_end_costs_only_what_it_lost(tmp_path: Path) -> None:
    files = written(tmp_path, "a", checkpoint(1)), written(tmp_path, "b", checkpoint(2))
    result_of(Recipe(files, tmp_path / "whole.safetensors"))
    recipe = Recipe(files, tmp_path / "m.safetensors")
    with pytest.raises(Stopped):
        list(merge(recipe, cut_after(4)))
    journal = tmp_path / ".m.safetensors.merging-journal"
    journal.write_bytes(journal.read_bytes()[:-1] + b"99")  # cut off in the middle of a line
    told = list(merge(recipe, lambda: False))
    assert told[0].resumed == 0  # type: ignore[union-attr]
    assert recipe.target.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_a_line_that_was_cut_short_spoils_none_that_follows(tmp_path: Path) -> None:
    files = written(tmp_path, "a", checkpoint(1)), written(tmp_path, "b", checkpoint(2))
    result_of(Recipe(files, tmp_path / "whole.safetensors"))
    recipe = Recipe(files, tmp_path / "m.safetensors")
    journal = tmp_path / ".m.safetensors.merging-journal"
    for _ in range(2):  # the second run appends its lines to what the first crash left
        with pytest.raises(Stopped):
            list(merge(recipe, cut_after(2)))
        journal.write_bytes(journal.read_bytes() + b"9")
    result_of(recipe)
    assert recipe.target.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_cut_off_between_name_and_journal_it_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = written(tmp_path, "a", checkpoint(1)), written(tmp_path, "b", checkpoint(2))
    recipe = Recipe(files, tmp_path / "m.safetensors")

    def killed(*told: object) -> None:
        shutil.move(tmp_path / ".m.safetensors.merging", recipe.target)
        raise KeyboardInterrupt

    monkeypatch.setattr(partial, "publish", killed)
    with pytest.raises(KeyboardInterrupt):
        list(merge(recipe, lambda: False))
    monkeypatch.undo()
    result_of(recipe)
    assert not (tmp_path / ".m.safetensors.merging-journal").exists()


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    files = written(tmp_path, "a", checkpoint(1)), written(tmp_path, "b", checkpoint(2))
    recipe = Recipe(files, tmp_path / "m.safetensors")
    recipe.target.write_bytes(b"precious")
    with pytest.raises(WebuiError, match=r"m\.safetensors exists already"):
        result_of(recipe)
    assert recipe.target.read_bytes() == b"precious"
    result_of(replace(recipe, overwrite=True))
    assert recipe.target.read_bytes() != b"precious"


def test_the_disk_is_asked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = written(tmp_path, "a", checkpoint(1)), written(tmp_path, "b", checkpoint(2))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(partial.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(WebuiError, match="GB are free"):
        result_of(Recipe(files, tmp_path / "m.safetensors"))
    assert not list(tmp_path.glob(".m.safetensors.merging"))


def test_two_merges_into_one_file_do_not_meet(tmp_path: Path) -> None:
    files = written(tmp_path, "a", checkpoint(1)), written(tmp_path, "b", checkpoint(2))
    recipe = Recipe(files, tmp_path / "m.safetensors")
    running = merge(recipe, lambda: False)
    next(running)
    with pytest.raises(WebuiError, match="just being merged"):
        result_of(recipe)
    *_, last = running
    assert isinstance(last, Merged)


@pytest.mark.parametrize("pattern", [r"(\w|\w\w)*\W$", r"(\w|\w\w)*\d\d$"])
def test_an_expression_that_tries_for_ever_is_ended(pattern: str) -> None:
    discarded = discards(pattern, seconds=0.2)
    with pytest.raises(WebuiError, match=r"discard_weights: matching .* takes longer than 0\.2 s") as raised:
        discarded("model_diffusion_model_" * 8)
    assert raised.value.field == "discard_weights"


def test_an_expression_is_looked_for_anywhere_in_a_name() -> None:
    discarded = discards(r"^first_stage|alphas")
    names = ("first_stage_model.a", "model.first_stage", "sqrt_alphas_cumprod")
    assert [discarded(name) for name in names] == [True, False, True]
    assert not discards("")("anything")
