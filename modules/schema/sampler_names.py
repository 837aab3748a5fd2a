"""The names of samplers and schedules, with aliases and flags: what a form or a validator needs, without torch.

One row fully describes a sampler or schedule. `function` names its implementation, as "module.function" in
`modules.sampling`, which needs torch; `modules.sampling.registry` looks it up. The order is A1111's menu order.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from modules.base.errors import WebuiError

CHURN = ("s_churn", "s_tmin", "s_tmax", "s_noise")


@dataclass(frozen=True)
class SamplerName:
    """One sampler of the menu.

    name: the label, as in an infotext.  aliases: A1111's internal names.  function: see above.
    default_schedule: what "Automatic" means; None means the model's own timesteps (the list of "Uniform").
    second_order: calls the model about twice per step, so prompt edits are timed over twice the steps.
    brownian: its step noise is a Brownian tree.  discard_next_to_last_sigma: requests one extra sigma and drops it.
    uses_ensd: its step noise is seeded with seed + "eta noise seed delta".
    timesteps: of the DDIM family, with its own grid (any schedule type is ignored) and variance-preserving latents.
    lcm: uses the 50 timesteps that a latent consistency model was distilled on.
    divides_by_step: divides by the difference of two sigmas, so a schedule must not repeat one.
    needs_uncond: needs the unconditional prediction besides the guided one.
    cfg_divisor: the CFG scale is divided by it; A1111's slider value 12.5 is CFG++'s scale of 1.
    has_own_levels: computes its own levels over the requested time range, by `uni_pc_skip_type`.
    options: the fields of `SamplerOptions` it reads.
    """

    name: str
    aliases: tuple[str, ...]
    function: str
    default_schedule: str | None = None
    second_order: bool = False
    brownian: bool = False
    discard_next_to_last_sigma: bool = False
    uses_ensd: bool = False
    timesteps: bool = False
    lcm: bool = False
    divides_by_step: bool = False
    needs_uncond: bool = False
    cfg_divisor: float = 1.0
    has_own_levels: bool = False
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScheduleName:
    """One schedule type of the menu; default_rho is None if the formula has no rho.

    function: in `modules.sampling.schedules`; "" for Automatic, which uses the sampler's default.
    """

    name: str
    aliases: tuple[str, ...]
    function: str = ""
    default_rho: float | None = None


SAMPLERS = (
    SamplerName("DPM++ 2M", ("k_dpmpp_2m",), "samplers.dpmpp_2m", "Karras", divides_by_step=True),
    SamplerName(
        "DPM++ SDE",
        ("k_dpmpp_sde",),
        "samplers.dpmpp_sde",
        "Karras",
        second_order=True,
        brownian=True,
        options=("eta", "s_noise"),
    ),
    SamplerName(
        "DPM++ 2M SDE",
        ("k_dpmpp_2m_sde",),
        "samplers.dpmpp_2m_sde",
        "Exponential",
        brownian=True,
        divides_by_step=True,
        options=("eta", "s_noise"),
    ),
    SamplerName(
        "DPM++ 2M SDE Heun",
        ("k_dpmpp_2m_sde_heun",),
        "samplers.dpmpp_2m_sde_heun",
        "Exponential",
        brownian=True,
        divides_by_step=True,
        options=("eta", "s_noise"),
    ),
    SamplerName(
        "DPM++ 2S a",
        ("k_dpmpp_2s_a",),
        "samplers.dpmpp_2s_ancestral",
        "Karras",
        second_order=True,
        uses_ensd=True,
        options=("eta", "s_noise"),
    ),
    SamplerName(
        "DPM++ 3M SDE",
        ("k_dpmpp_3m_sde",),
        "samplers.dpmpp_3m_sde",
        "Exponential",
        brownian=True,
        discard_next_to_last_sigma=True,
        divides_by_step=True,
        options=("eta", "s_noise"),
    ),
    SamplerName(
        "Euler a", ("k_euler_a", "k_euler_ancestral"), "samplers.euler_ancestral", uses_ensd=True, options=("eta",)
    ),
    SamplerName("Euler", ("k_euler",), "samplers.euler", options=CHURN),
    SamplerName("LMS", ("k_lms",), "samplers.lms", divides_by_step=True),
    SamplerName("Heun", ("k_heun",), "samplers.heun", second_order=True, options=CHURN),
    SamplerName(
        "DPM2",
        ("k_dpm_2",),
        "samplers.dpm2",
        "Karras",
        second_order=True,
        discard_next_to_last_sigma=True,
        options=CHURN,
    ),
    SamplerName(
        "DPM2 a",
        ("k_dpm_2_a",),
        "samplers.dpm2_ancestral",
        "Karras",
        second_order=True,
        discard_next_to_last_sigma=True,
        uses_ensd=True,
        options=("eta", "s_noise"),
    ),
    SamplerName("DPM fast", ("k_dpm_fast",), "samplers.dpm_fast", uses_ensd=True, options=("eta", "s_noise")),
    SamplerName("DPM adaptive", ("k_dpm_ad",), "samplers.dpm_adaptive", uses_ensd=True, options=("eta",)),
    SamplerName("Restart", ("restart",), "samplers.restart", "Karras", second_order=True),
    SamplerName("DDIM", ("ddim",), "timesteps.ddim", timesteps=True, options=("eta_ddim",)),
    SamplerName(
        "DDIM CFG++",
        ("ddim_cfgpp",),
        "timesteps.ddim_cfgpp",
        timesteps=True,
        needs_uncond=True,
        cfg_divisor=12.5,
        options=("eta_ddim",),
    ),
    SamplerName("PLMS", ("plms",), "timesteps.plms", timesteps=True),
    SamplerName(
        "UniPC",
        ("unipc",),
        "timesteps.unipc",
        timesteps=True,
        has_own_levels=True,
        options=("uni_pc_variant", "uni_pc_skip_type", "uni_pc_order", "uni_pc_lower_order_final"),
    ),
    SamplerName("LCM", ("k_lcm",), "samplers.lcm", lcm=True),
)

SCHEDULES = (
    ScheduleName("Automatic", ("automatic",)),
    ScheduleName("Uniform", ("uniform",), "uniform"),
    ScheduleName("Karras", ("karras",), "karras", default_rho=7.0),
    ScheduleName("Exponential", ("exponential",), "exponential"),
    ScheduleName("Polyexponential", ("polyexponential",), "polyexponential", default_rho=1.0),
    ScheduleName("SGM Uniform", ("sgm_uniform", "SGMUniform"), "sgm_uniform"),
    ScheduleName("KL Optimal", ("kl_optimal",), "kl_optimal"),
    ScheduleName("Align Your Steps", ("align_your_steps",), "align_your_steps"),
    ScheduleName("Simple", ("simple",), "simple"),
    ScheduleName("Normal", ("normal",), "normal"),
    ScheduleName("DDIM", ("ddim",), "ddim"),
    ScheduleName("Beta", ("beta",), "beta"),
)


Row = TypeVar("Row", SamplerName, ScheduleName)


def resolve_names(sampler: str, schedule: str = "Automatic", prefix: str = "") -> tuple[SamplerName, ScheduleName]:
    """The rows of a sampler and a schedule, each given by label or alias in any letter case.

    A schedule at the end of the sampler text ("DPM++ 2M Karras", "k_dpmpp_2m_ka") overrides `schedule`, as in A1111; if
    it is the sampler's own default, it becomes Automatic.
    Raises WebuiError for an unknown name, with the nearest known one; its field is `prefix` + `sampler_name` or
    `scheduler`.

    >>> [row.name for row in resolve_names("k_euler_a", "karras")]
    ['Euler a', 'Karras']
    """
    schedule_row = _schedule_row(schedule, prefix)
    sampler_row = _find(sampler, SAMPLERS)
    if sampler_row is None:
        head, tail_row = _split_schedule(sampler)
        sampler_row = _find(head, SAMPLERS)
        if sampler_row is None or tail_row is None:
            raise _unknown("sampler", f"{prefix}sampler_name", sampler, SAMPLERS)
        is_default = tail_row.name == sampler_row.default_schedule
        schedule_row = SCHEDULES[0] if is_default else tail_row
    return sampler_row, schedule_row


def nearest_sampler(text: str) -> str:
    """The label of the sampler whose name or alias is most similar to `text`."""
    return _nearest(text, SAMPLERS)


def _schedule_row(text: str, prefix: str) -> ScheduleName:
    row = _find(text.strip() or "Automatic", SCHEDULES)
    if row is None:
        raise _unknown("scheduler", f"{prefix}scheduler", text, SCHEDULES)
    return row


def _split_schedule(text: str) -> tuple[str, ScheduleName | None]:
    """("DPM++ 2M Karras") -> ("DPM++ 2M", Karras); old A1111 wrote `_ka` for Karras in its aliases."""
    if re.search(r"_ka$", text.strip(), re.IGNORECASE):
        return text.strip()[:-3], _find("Karras", SCHEDULES)
    folded = _fold(text)
    for row in sorted(SCHEDULES, key=lambda row: -len(row.name)):
        for name in (row.name, *row.aliases):
            if folded.endswith(" " + _fold(name)):
                return folded[: -len(_fold(name)) - 1], row
    return text, None


def _fold(text: str) -> str:
    return " ".join(text.split()).casefold()


def _find(text: str, rows: Iterable[Row]) -> Row | None:
    folded_text = _fold(text)
    return next((row for row in rows if folded_text in {_fold(name) for name in (row.name, *row.aliases)}), None)


def _nearest(text: str, rows: Iterable[SamplerName] | Iterable[ScheduleName]) -> str:
    labels = {_fold(name): row.name for row in rows for name in (row.name, *row.aliases)}
    return labels[difflib.get_close_matches(_fold(text), labels, n=1, cutoff=0.0)[0]]


def _unknown(kind: str, field: str, text: str, rows: tuple[SamplerName, ...] | tuple[ScheduleName, ...]) -> WebuiError:
    return WebuiError(f"{field}={text!r}: there is no such {kind}; did you mean {_nearest(text, rows)!r}?", field=field)
