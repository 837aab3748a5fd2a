"""Decides from headers alone what to do with each tensor of A, by A1111's rules, with errors for impossible merges."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import regex

from modules.base.errors import WebuiError
from modules.networks.files.detect import VAE, detect
from modules.networks.files.foreign import FIELD
from modules.networks.files.listing import Header, TensorInfo
from modules.networks.ldm.layout import diffusers_vae_config
from modules.networks.ldm.names import vae_ldm_name
from modules.networks.merging.recipe import Recipe
from modules.networks.merging.source import TensorFile
from modules.networks.quantized import MARKS
from modules.networks.weights import FLOATS

MATCHING_SECONDS: Final = 10.0  # for matching the names of all tensors, a few thousand
_MERGED: Final = "model"  # A1111 merges only keys that contain this: the networks, not the noise schedule
_SKIPPED: Final = "position_ids"  # integers: the text encoder's positions
_EXTRA_CHANNELS: Final[Mapping[int, str]] = {9: "inpainting", 8: "instruct-pix2pix"}
_DTYPE_OF: Final[Mapping[str, str]] = {
    "fp32": "F32", "fp16": "F16", "bf16": "BF16", "fp8_e4m3": "F8_E4M3", "fp8_e5m2": "F8_E5M2",
}  # fmt: skip
_EIGHT_BITS: Final = ("F8_E4M3", "F8_E5M2")
_WIDTH: Final[Mapping[str, int]] = {"F8_E4M3": 1, "F8_E5M2": 1, "F16": 2, "BF16": 2, "F32": 3, "F64": 4}


class Part(NamedTuple):
    """A tensor in one of the files."""

    file: TensorFile
    key: str

    @property
    def info(self) -> TensorInfo:
        return self.file.header[self.key]


@dataclass(frozen=True)
class Piece:
    """A tensor of the merged file. The first of `parts` is from A or the baked VAE; a single part is copied.

    `channels` is set if the other parts have fewer input channels than A: the number of first channels to merge.
    """

    info: TensorInfo
    parts: tuple[Part, ...]
    multiplier: float = 0.0
    channels: int | None = None


class MergePlan(NamedTuple):
    """The tensors of the merged file by key. `kind` is "", or the word for A's extra input channels."""

    pieces: Mapping[str, Piece]
    kind: str


def plan_merge(recipe: Recipe, sources: Sequence[TensorFile], vae: TensorFile | None) -> MergePlan:
    """The plan of a merge. Raises WebuiError for incompatible checkpoints, naming the key that shows it."""
    for source in sources:
        _require_plain(source)
    _require_one_xl_count(recipe, sources[0])
    baked = _vae_names(vae) if vae is not None else {}
    discarded = discards(recipe.discard)
    pieces: dict[str, Piece] = {}
    kinds: set[str] = set()
    for key in dict.fromkeys([*sources[0].header, *baked]):
        if discarded(key):
            continue
        parts = [Part(sources[0], key)] if key in sources[0].header else []
        if key in baked:
            assert vae is not None
            shape = parts[0].info.shape if parts else vae.header[baked[key]].shape
            part = Part(vae, baked[key])
            _require_same_size(part, shape, key)
            pieces[key] = Piece(TensorInfo(_saved_dtype(recipe, key, part.info), shape), (part,))
            continue
        parts += [Part(source, key) for source in sources[1:] if key in source.header]
        pieces[key] = piece = _piece(recipe, key, parts, len(sources))
        kinds |= {_EXTRA_CHANNELS[piece.info.shape[1]]} if piece.channels is not None else set()
    if not pieces:
        raise WebuiError(f"discard_weights: {recipe.discard!r} leaves no tensor.", "", "discard_weights")
    if len(sources) > 1 and not any(len(piece.parts) > 1 for piece in pieces.values()):
        raise _strangers(sources[0], sources[1])
    return MergePlan(pieces, next(iter(kinds), ""))


def _piece(recipe: Recipe, key: str, parts: Sequence[Part], count: int) -> Piece:
    first = parts[0]
    info = TensorInfo(_saved_dtype(recipe, key, first.info), first.info.shape)
    is_merged = (
        len(parts) == count > 1  # tensors missing from another source stay as in A
        and _MERGED in key
        and not key.endswith(_SKIPPED)
        and all(part.info.dtype in FLOATS for part in parts)
    )
    if not is_merged:
        return Piece(info, (first,))
    channels = _common_channels(key, parts)
    info = TensorInfo(_saved_dtype(recipe, key, *(part.info for part in parts)), first.info.shape)
    weight = recipe.multiplier if recipe.blocks is None else recipe.blocks.of(key)
    return Piece(info, tuple(parts), weight, channels)


def _common_channels(key: str, parts: Sequence[Part]) -> int | None:
    """The number of input channels that A shares with the others; None if all parts have the same shape.

    A1111 merges the four channels of a plain model into the first four of an inpainting or instruct-pix2pix model.
    """
    first, others = parts[0].info.shape, {part.info.shape for part in parts[1:]}
    if others == {first}:
        return None
    other = next(shape for shape in others if shape != first)
    if len(others) == 1 and len(first) == len(other) == 4 and first[:1] + first[2:] == other[:1] + other[2:]:
        if first[1] in _EXTRA_CHANNELS and other[1] == 4:
            return 4
        if first[1] == 4 and other[1] in _EXTRA_CHANNELS:
            name = _EXTRA_CHANNELS[other[1]]
            raise WebuiError(
                f"primary_model_name: {parts[1].file.name} is an {name} model and {parts[0].file.name} is not.",
                f"To merge the two, A must be the {name} model.",
                "primary_model_name",
            )
    part = next(part for part in parts[1:] if part.info.shape != first)
    raise WebuiError(
        f"{part.file.name} does not fit {parts[0].file.name}: {key} has the shape {list(part.info.shape)} in it, "
        f"expected {list(first)}. {_what(parts[0].file)} and {_what(part.file)} cannot be merged.",
        "Merge checkpoints of one family.",
        "secondary_model_name",
    )


def _strangers(first: TensorFile, second: TensorFile) -> WebuiError:
    return WebuiError(
        f"{first.name} and {second.name} have no tensor in common. {_what(first)} and {_what(second)} cannot be "
        "merged.",
        "Merge checkpoints of one family.",
        "secondary_model_name",
    )


def _what(file: TensorFile) -> str:
    label = detect(file.header).label
    return label[:1].upper() + label[1:]


def _require_plain(file: TensorFile) -> None:
    scaled = next((key for key in file.header if key.rpartition(".")[2] in MARKS), None)
    if scaled is not None:
        raise WebuiError(f"{file.name} is quantized ({scaled}).", "Use the fp16 version.", FIELD)
    family = detect(file.header)
    if family.kind == "addition":
        raise WebuiError(f"{file.name} is {family.label}, not a checkpoint.", "Choose a checkpoint.", FIELD)


def _require_one_xl_count(recipe: Recipe, first: TensorFile) -> None:
    if recipe.blocks is None:
        return
    is_xl = detect(first.header).name.startswith("sdxl")
    if is_xl != recipe.blocks.is_xl:
        expected = "20 or 21 values, as it is an XL model" if is_xl else "26 values, as it is no XL model"
        raise WebuiError(f"block_weights: {first.name} takes {expected}.", "", "block_weights")


def _saved_dtype(recipe: Recipe, key: str, *infos: TensorInfo) -> str:
    """The type that a tensor is saved in. Only matrices outside the VAE are saved in 8 bits: other tensors are small
    and lose the most quality."""
    dtypes = [info.dtype for info in infos]
    if dtypes[0] not in FLOATS:
        return dtypes[0]
    if recipe.save_as == "same":
        return _widest(dtypes)
    dtype = _DTYPE_OF[recipe.save_as]
    is_small = len(infos[0].shape) < 2 or key.startswith(VAE)
    return "F16" if dtype in _EIGHT_BITS and is_small else dtype


def _widest(dtypes: Sequence[str]) -> str:
    """The type given by torch's promotion: the widest, F32 for F16 with BF16."""
    widest = max(dtypes, key=lambda dtype: _WIDTH[dtype])
    same = {dtype for dtype in dtypes if _WIDTH[dtype] == _WIDTH[widest]}
    if len(same) == 1:
        return widest
    return "F16" if _WIDTH[widest] == 1 else "F32"


def discards(pattern: str, seconds: float = MATCHING_SECONDS) -> Callable[[str], bool]:
    """A function that says whether a tensor with a given name is left out.

    Raises WebuiError for an invalid regular expression. The function raises it once matching has taken more than
    `seconds` in total, because some expressions backtrack exponentially.
    """
    if not pattern:
        return lambda key: False
    try:
        compiled = regex.compile(pattern)
    except regex.error as error:
        raise WebuiError(
            f"discard_weights: {pattern[:100]!r} is no regular expression: {error}.", "", "discard_weights"
        ) from error

    left = seconds

    def is_discarded(key: str) -> bool:
        nonlocal left
        begun = time.monotonic()
        try:
            found = compiled.search(key, timeout=max(left, 1e-3)) is not None
            left -= time.monotonic() - begun
            return found
        except TimeoutError as error:
            raise WebuiError(
                f"discard_weights: matching {pattern[:100]!r} with the tensors' names takes longer than {seconds:g} s.",
                "Write it without repeats inside of repeats.",
                "discard_weights",
            ) from error

    return is_discarded


# ---- a VAE from a file of its own ----


def _vae_names(vae: TensorFile) -> dict[str, str]:
    """Key in a checkpoint -> key in the VAE's file. Raises WebuiError for a file without a VAE."""
    prefix = VAE if any(key.startswith(VAE) for key in vae.header) else ""
    inner = {key.removeprefix(prefix): key for key in vae.header if key.startswith(prefix)}
    if "decoder.conv_in.weight" not in inner:
        raise WebuiError(f"{vae.name} is {detect(vae.header).label}, not a VAE.", "Choose another.", "bake_in_vae")
    if any(name.startswith("encoder.down_blocks.") for name in inner):  # diffusers' names
        header: Header = {name: vae.header[key] for name, key in inner.items()}
        config = diffusers_vae_config(header, {}, vae.name, "")
        inner = {vae_ldm_name(_new_attention(name), config): key for name, key in inner.items()}
    parts = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
    return {VAE + name: key for name, key in inner.items() if name.startswith(parts)}


def _new_attention(name: str) -> str:
    """diffusers' name of the VAE's attention layers since version 0.18."""
    renamed = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
    for old, new in renamed.items():
        name = name.replace(old, new)
    return name


def _require_same_size(part: Part, shape: tuple[int, ...], key: str) -> None:
    """Raises WebuiError for another size. A 1×1 convolution and a linear layer of the same size are interchangeable."""
    if [side for side in part.info.shape if side != 1] != [side for side in shape if side != 1]:
        raise WebuiError(
            f"bake_in_vae: {part.file.name} does not fit: {key} has the shape {list(part.info.shape)} in it, expected "
            f"{list(shape)}.",
            "Choose a VAE of the checkpoint's family.",
            "bake_in_vae",
        )
