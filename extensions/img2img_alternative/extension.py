"""img2img alternative test: finds the noise that would have become the source, and samples from that noise.

Euler's method runs backwards, from the picture to noise, with a prompt that describes the picture; a changed prompt
then redraws it with the same composition.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from pydantic import Field

from modules.base.errors import WebuiError
from modules.base.fields import Control
from modules.extension.hooks import Ahead, Arguments, Course, Extension, Run, Scene, Script, Studio, changed
from modules.infotext.grammar import FormKind
from modules.schema.request import Img2ImgRequest
from modules.schema.sampler_names import resolve_names


class AlternativeArguments(Arguments):
    info: Annotated[
        Any,
        Field(description="Unused: A1111 shows a note here, and clients send arguments by position."),
        Control("Note", kind="hidden"),
    ] = ""
    override_sampler: Annotated[
        bool,
        Field(description="The noise is found with Euler steps, so Euler restores the source best."),
        Control("Override `Sampling method` to Euler?(this method is built for it)", kind="checkbox"),
    ] = True
    override_prompt: Annotated[
        bool,
        Field(description="Sample with the original prompts too, which restores the source."),
        Control("Override `prompt` to the same value as `original prompt`?(and `negative prompt`)", kind="checkbox"),
    ] = True
    original_prompt: Annotated[
        str,
        Field(max_length=20_000, description="A description of the source."),
        Control("Original prompt", kind="textbox"),
    ] = ""
    original_negative_prompt: Annotated[
        str,
        Field(max_length=20_000, description="What the source does not contain."),
        Control("Original negative prompt", kind="textbox"),
    ] = ""
    override_steps: Annotated[
        bool,
        Field(description="Sample with as many steps as were used to find the noise."),
        Control("Override `Sampling Steps` to the same value as `Decode steps`?", kind="checkbox"),
    ] = True
    st: Annotated[
        int,
        Field(ge=1, le=150, description="Steps for finding the noise of the source."),
        Control("Decode steps", kind="slider", step=1),
    ] = 50
    override_strength: Annotated[
        bool,
        Field(description="Sample the whole schedule, starting from the found noise."),
        Control("Override `Denoising strength` to 1?", kind="checkbox"),
    ] = True
    cfg: Annotated[
        float,
        Field(ge=0, le=15, description="CFG scale for the original prompt while the noise is found."),
        Control("Decode CFG scale", kind="slider", step=0.1),
    ] = 1.0
    randomness: Annotated[
        float,
        Field(ge=0, le=1, description="How much of the seed's random noise to mix into the found noise."),
        Control("Randomness", kind="slider", step=0.01),
    ] = 0.0
    sigma_adjustment: Annotated[
        bool,
        Field(description="Evaluate each step at its starting sigma, and scale the noise by the last sigma."),
        Control("Sigma adjustment for finding noise for image", kind="checkbox"),
    ] = False


class Alternative(Script):
    name = "img2img alternative test"
    description = (
        "Finds the noise that would produce the source and samples from it, so that changing a word keeps the picture."
    )
    kinds = ("img2img",)

    def arguments(self, kind: FormKind) -> type[Arguments]:
        return AlternativeArguments

    def check(self, kind: FormKind, request: Img2ImgRequest, arguments: AlternativeArguments, catalog: object) -> None:
        sampler, _ = resolve_names(request.sampler_name, request.scheduler)
        if sampler.timesteps and not arguments.override_sampler:
            raise WebuiError(
                f"Sampling method = {sampler.name!r}: this script needs a sampler that works with sigmas.",
                "Choose Euler, or let the script override the sampler.",
                "sampler_name",
            )

    def run(self, kind: FormKind, request: Img2ImgRequest, arguments: AlternativeArguments, studio: Studio) -> Course:
        self.check(kind, request, arguments, None)
        values: dict[str, Any] = {}
        if arguments.override_sampler:
            values["sampler_name"] = "Euler"
        if arguments.override_prompt:
            values["prompt"] = arguments.original_prompt
            values["negative_prompt"] = arguments.original_negative_prompt
        if arguments.override_steps:
            values["steps"] = arguments.st
        if arguments.override_strength:
            values["denoising_strength"] = 1.0
        child = changed(request, values)
        pairs = {
            "Decode prompt": arguments.original_prompt,
            "Decode negative prompt": arguments.original_negative_prompt,
            "Decode CFG scale": arguments.cfg,
            "Decode steps": arguments.st,
            "Randomness": arguments.randomness,
            "Sigma Adjustment": arguments.sigma_adjustment,
        }
        infotext = {key: value for key, value in pairs.items() if value != ""}
        yield Ahead(child.images, child.n_iter)
        yield Run(child, infotext, noise=partial(noise_for, arguments))


class AlternativeExtension(Extension):
    def scripts(self) -> Sequence[Script]:
        return (Alternative(),)


def noise_for(arguments: AlternativeArguments, scene: Scene) -> Any:
    """The noise to add to the source, (B, C, h, w), so that the sampler starts from the noise that was found."""
    find = found_adjusted if arguments.sigma_adjustment else found
    denoise = scene.denoiser(arguments.original_prompt, arguments.original_negative_prompt, arguments.cfg)
    recovered = find(scene.latent, scene.levels(arguments.st), denoise)
    share = arguments.randomness
    mixed = ((1 - share) * recovered + share * scene.noise) / (share**2 + (1 - share) ** 2) ** 0.5
    return mixed - scene.latent / scene.highest


def found(latent: Any, levels: Any, denoise: Any) -> Any:
    """Euler steps for dx/dsigma = (x - D(x; sigma)) / sigma, backwards; each step uses the slope at its end.

    `latent` is (B, C, h, w); `levels` (n + 1,) descend to 0. The result has standard deviation 1.
    """
    rising = levels.flip(0)
    x = latent
    for i in range(1, len(rising)):
        slope = (x - denoise(x, rising[i].expand(len(x)))) / rising[i]
        x = x + slope * (rising[i] - rising[i - 1])
    return x / x.std()


def found_adjusted(latent: Any, levels: Any, denoise: Any) -> Any:
    """The same with the slope at the start of each step; the first step starts at 0 and uses half its end slope."""
    rising = levels.flip(0)
    x = latent
    for i in range(1, len(rising)):
        level = rising[max(i - 1, 1)]
        slope = (x - denoise(x, level.expand(len(x)))) / (2 * level if i == 1 else level)
        x = x + slope * (rising[i] - rising[i - 1])
    return x / rising[-1]
