"""Warnings about parts of a request that the engine ignores."""

from modules.networks.model import Family
from modules.processing.engine.job import Job
from modules.processing.plan import Plan, read_prompt
from modules.prompts.tags import HYPERNETWORK, NETWORK_KINDS, NetworkTag, take_tags
from modules.schema.request import GenerationRequest, Txt2ImgRequest
from modules.schema.settings import Settings

KINDS = (*NETWORK_KINDS, HYPERNETWORK)


def ignored_tags(request: GenerationRequest, plan: Plan, settings: Settings) -> list[str]:
    """Warnings about the prompts in use: tags of unknown kinds of networks, and unknown arguments."""
    texts = [request.prompt]
    if isinstance(request, Txt2ImgRequest) and request.enable_hr:
        texts.append(request.hr_prompt)
    tags = [tag for text in texts for tag in take_tags(read_prompt(text, settings))[1]]
    names = [":".join((tag.kind, *tag.positional[:1])) for tag in tags if tag.kind not in KINDS]
    unknown = [f"<{name}> has no effect: there are no networks of this kind. The tag was removed." for name in names]
    unread = dict.fromkeys(note for each in plan.passes for tag in each.loras for note in _unread(tag))
    return [*unknown, *unread]


def lacking_abilities(job: Job, family: Family) -> list[str]:
    """Warnings about settings that the family does not support."""
    used = {
        "tiling": ("Tiling", job.settings.tiling),
        "token_merging": ("Token merging", any(each.token_merging for each in job.plan.passes)),
        "vae_files": ("SD VAE", bool(job.files.vaes)),
    }
    return [
        f"{label} has no effect: {family.label} checkpoints do not have it."
        for ability, (label, is_used) in used.items()
        if is_used and ability not in family.abilities
    ]


def _unread(tag: NetworkTag) -> list[str]:
    return [f"{argument[:60]!r} in <lora:{tag.name}> has no effect: it is unknown." for argument in tag.unread]
