"""Token merging: the matching against a plain loop over the paper's steps, and the network against its explicit
formula.
"""

# pyright: reportOptionalCall=false
# diffusers' block has parts that may be None; a UNet of Stable Diffusion has all of them.

from collections.abc import Callable

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor

from modules.networks.ldm.token_merging import matching, merged_tokens


def halves(height: int, width: int) -> tuple[list[int], list[int]]:
    """(destinations: the top left of each whole 2 x 2, sources: all others)."""
    places = [(y, x) for y in range(height) for x in range(width)]
    inside = [y < height // 2 * 2 and x < width // 2 * 2 and y % 2 == x % 2 == 0 for y, x in places]
    return [i for i, at in enumerate(inside) if at], [i for i, at in enumerate(inside) if not at]


def pairs(x: Tensor, height: int, width: int, ratio: float) -> dict[int, int]:
    """For one picture's tokens (N, C): which source goes into which destination."""
    destinations, sources = halves(height, width)
    best = {}
    for i in sources:
        alike = [float(torch.cosine_similarity(x[i], x[j], dim=0)) for j in destinations]
        best[i] = (max(alike), destinations[alike.index(max(alike))])
    going = sorted(sources, key=lambda i: -best[i][0])[: int(len(x) * ratio)]
    return {i: best[i][1] for i in going}


def test_tokens_go_into_the_most_similar_destination_and_come_back_as_its_mean() -> None:
    height, width, ratio = 5, 7, 0.4
    x = torch.randn(2, height * width, 6, generator=torch.Generator().manual_seed(1))
    found = matching(x, height, width, ratio)
    assert found is not None
    together = found.together(x)
    assert together.shape == (2, 35 - 14, 6)
    back = found.apart(together)
    for b in range(2):
        gone = pairs(x[b], height, width, ratio)
        assert len(gone) == 14
        expected = x[b].clone()
        for destination in halves(height, width)[0]:
            members = [destination, *(i for i, j in gone.items() if j == destination)]
            expected[members] = x[b, members].mean(0)
        torch.testing.assert_close(back[b], expected)


def test_no_more_go_than_there_are_sources() -> None:
    x = torch.randn(1, 16, 4, generator=torch.Generator().manual_seed(1))
    found = matching(x, 4, 4, 0.9)
    assert found is not None
    assert found.together(x).shape == (1, 4, 4)  # 14 were requested, 12 are not destinations
    assert matching(x, 4, 4, 0.05) is None


def network() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        in_channels=4, out_channels=4, block_out_channels=(32, 32), layers_per_block=1, cross_attention_dim=16,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=4,
    ).eval()  # fmt: skip


def merging_forward(height: int, width: int, ratio: float) -> Callable[..., Tensor]:
    """The paper's block: attention over merged tokens only; the tokens are compared before the block."""

    def forward(
        self: BasicTransformerBlock, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: object
    ) -> Tensor:
        x = hidden_states
        normed = self.norm1(x)
        if x.shape[1] == height * width:
            outputs = []
            for b in range(len(x)):
                gone = pairs(x[b], height, width, ratio)
                kept = [i for i in range(x.shape[1]) if i not in gone]
                tokens = torch.stack([normed[b, [i, *(k for k, j in gone.items() if j == i)]].mean(0) for i in kept])
                attended = self.attn1(tokens[None])[0]
                outputs.append(torch.stack([attended[kept.index(gone.get(i, i))] for i in range(x.shape[1])]))
            attended = torch.stack(outputs)
        else:
            attended = self.attn1(normed)
        x = attended + x
        x = self.attn2(self.norm2(x), encoder_hidden_states=encoder_hidden_states) + x
        return self.ff(self.norm3(x)) + x

    return forward


@torch.inference_mode()
def test_the_network_merges_in_its_full_size_blocks() -> None:
    unet = network()
    x = torch.randn(2, 4, 6, 10, generator=torch.Generator().manual_seed(2))
    context = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(3))
    time = torch.tensor([500.0, 500.0])
    plain = unet(x, time, context).sample
    with merged_tokens(unet, 0.5):
        merged = unet(x, time, context).sample
    with merged_tokens(unet, 0.0):
        assert torch.equal(unet(x, time, context).sample, plain)
    assert torch.equal(unet(x, time, context).sample, plain)  # nothing of it remains
    for block in unet.modules():
        if isinstance(block, BasicTransformerBlock):
            block.forward = merging_forward(6, 10, 0.5).__get__(block)
    expected = unet(x, time, context).sample
    torch.testing.assert_close(merged, expected, atol=1e-5, rtol=1e-4)
    assert float((merged - plain).abs().max()) > 1e-3
