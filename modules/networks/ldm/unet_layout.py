"""Derives diffusers' configuration of a UNet from the shapes in a single file's header."""

from collections.abc import Sequence
from typing import Any, Final

from modules.networks.files.detect import UNET
from modules.networks.files.listing import Header
from modules.networks.ldm.layout import Config, read_config
from modules.networks.ldm.shapes import MOST_LEVELS, Shapes, require_divides
from modules.networks.ldm.sidecar import Sidecar, whole

# The type of middle block by its size; pruned models have one residual block there, or nothing.
MIDDLE_ATTENDS, MIDDLE_SHORT = "UNetMidBlock2DCrossAttn", "UNetMidBlock2D"
_USUAL_HEAD: Final = 64  # channels per head, in families whose configuration lists the number of heads per level

Level = list[tuple[int, int]]
"""(width, depth of the following transformer or 0) for each residual block of a level."""


def unet_config(header: Header, sidecar: Sidecar, name: str, prefix: str = UNET, family: str = "sd1") -> Config:
    """diffusers' config of the UNet. Raises WebuiError if the shapes are not those of a Stable Diffusion UNet.

    Pruned UNets (SSD-1B, Segmind's Vega, KOALA) have a different depth in every block, up and down.
    """
    config = read_config(family, "unet")
    shape = Shapes(header, prefix, name)
    base, in_channels = shape.of("input_blocks.0.0.weight")[:2]
    levels = _levels(shape)
    widths = [level[0][0] for level in levels]
    if widths[0] != base:
        raise shape.unusual(f"its first block widens {base} channels to {widths[0]}")
    depths = [[depth for _, depth in level] for level in levels]
    to_k, proj_in = shape.first(".attn2.to_k.weight"), shape.first(".1.proj_in.weight")
    if to_k is None or proj_in is None:
        raise shape.unusual("nothing in it attends to the prompt")
    config |= {
        "in_channels": in_channels,
        "out_channels": shape.of("out.2.weight")[0],
        "block_out_channels": widths,
        "layers_per_block": len(levels[0]),
        "down_block_types": ["CrossAttnDownBlock2D" if any(level) else "DownBlock2D" for level in depths],
        "cross_attention_dim": shape.of(to_k)[1],
        "use_linear_projection": len(shape.of(proj_in)) == 2,
        "norm_num_groups": whole(sidecar.unet, "norm_num_groups", config["norm_num_groups"], name),
        # diffusers' name for the number of heads
        "attention_head_dim": _heads(sidecar, widths, config["attention_head_dim"], name),
    }
    config |= _depths(shape, depths, len(levels[0]))
    if shape.has("label_emb."):
        config["projection_class_embeddings_input_dim"] = shape.of("label_emb.0.0.weight")[1]
    require_divides(config["norm_num_groups"], widths, "norm_num_groups", "UNet", name)
    require_divides(config["attention_head_dim"], widths, "num_heads", "UNet", name)
    return config


def _levels(shape: Shapes) -> list[Level]:
    levels: list[Level] = [[]]
    index = 1
    while shape.has(f"input_blocks.{index}.0."):
        block = f"input_blocks.{index}"
        if shape.has(f"{block}.0.op."):
            levels.append([])
        else:
            width = shape.of(f"{block}.0.out_layers.3.weight")[0]
            levels[-1].append((width, shape.count(f"{block}.1.transformer_blocks")))
        index += 1
        if index > MOST_LEVELS:
            raise shape.unusual(f"it has more than {MOST_LEVELS} input_blocks")
    is_even = all(level and len({width for width, _ in level}) == 1 for level in levels)
    if not is_even or len({len(level) for level in levels}) != 1:
        raise shape.unusual("its levels have different numbers of blocks")
    return levels


def _depths(shape: Shapes, down: Sequence[Sequence[int]], layers: int) -> Config:
    """The depths of the transformers, and the resulting block types."""
    middle = shape.count("middle_block.1.transformer_blocks")
    up = [
        [shape.count(f"output_blocks.{level * (layers + 1) + i}.1.transformer_blocks") for i in range(layers + 1)]
        for level in range(len(down))
    ]
    if any(0 in level and any(level) for level in (*down, *up)):
        raise shape.unusual("some blocks of a level attend and others do not")
    config: Config = {"up_block_types": ["CrossAttnUpBlock2D" if any(level) else "UpBlock2D" for level in up]}
    usual = [level[0] or middle or 1 for level in down]
    is_regular = all(len(set(level)) == 1 for level in down) and [level[0] for level in up] == [
        level[0] for level in reversed(down)
    ]
    if is_regular and all(len(set(level)) == 1 for level in up) and middle:
        config["transformer_layers_per_block"] = usual
    else:
        config["transformer_layers_per_block"] = [list(level) if any(level) else 1 for level in down]
        config["reverse_transformer_layers_per_block"] = [list(level) if any(level) else 1 for level in up]
    if not middle:
        config["mid_block_type"] = MIDDLE_SHORT if shape.has("middle_block.0.") else None
    elif middle != (down[-1][0] or middle):
        raise shape.unusual("its middle block attends unlike its deepest level")
    elif not is_regular and not down[-1][0]:
        config["transformer_layers_per_block"][-1] = middle
    return config


def _heads(sidecar: Sidecar, widths: Sequence[int], usual: Any, name: str) -> int | list[int]:
    values = sidecar.unet
    if values.get("num_head_channels") not in (None, 0, -1):
        channels = whole(values, "num_head_channels", 1, name)
        return [width // channels for width in widths]
    if values.get("num_heads") not in (None, -1):
        return whole(values, "num_heads", 1, name)
    return usual if isinstance(usual, int) else [max(1, width // _USUAL_HEAD) for width in widths]
