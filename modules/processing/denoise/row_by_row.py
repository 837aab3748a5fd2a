"""Repeats an evaluation row by row if memory is short: the latent so far is kept, and no step is lost."""

import logging
from dataclasses import replace

import torch
from torch import Tensor

from modules.networks.conditioning import Conditioning, Extra, Residuals
from modules.networks.device import is_out_of_memory, release_memory
from modules.networks.model import Model

log = logging.getLogger(__name__)


class Predictor:
    """Evaluates all rows at once; after the first out-of-memory error, one row at a time."""

    def __init__(self) -> None:
        self._is_split = False

    def __call__(self, model: Model, x: Tensor, sigma: Tensor, cond: Conditioning, extra: Extra) -> Tensor:
        """`Model.predict`. Raises its errors, but out of memory only if a single row does not fit."""
        if not self._is_split:
            try:
                return model.predict(x, sigma, cond, extra)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(cond) == 1:
                    raise
                log.warning("The pictures and prompts of a step go through the network one at a time: %s", error)
            self._is_split = True
            release_memory(model.place.device)
        rows = [
            model.predict(x[i % len(x)][None], sigma[i % len(x)][None], cond[i], _row(extra, i, len(cond)))
            for i in range(len(cond))
        ]
        return torch.cat(rows)


def _row(extra: Extra, i: int, rows: int) -> Extra:
    """Row `i` of everything; there are `rows`."""

    def of(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor[i % len(tensor)][None]

    residuals = extra.residuals
    if residuals is not None:
        down = tuple(each[i % len(each)][None] for each in residuals.down)
        residuals = Residuals(down, of(residuals.middle))
    return replace(
        extra,
        concat=of(extra.concat),
        residuals=residuals,
        tokens=of(extra.tokens),
        attention_mask=of(extra.attention_mask),
        negative_rows=int(i >= rows - extra.negative_rows),
    )
