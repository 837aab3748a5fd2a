"""The txt2img and img2img tabs: prompt row on top, settings left, result right, with A1111's labels and order.

Nothing is inside a `gr.Tab`: Gradio adds a tab's components to the page at its first visit only (6.31 accepts
`render_children` and ignores it), and a form that does not exist can be neither restored nor sent to. Elements that
our scripts fill (source picture, result, tool buttons) are empty, with a `data-part`.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from gradio.components import Component

from modules.base.fields import Param, params
from modules.schema.catalog import Catalog
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.ui import form
from modules.ui.canvas import canvas, mask_controls
from modules.ui.parts import part
from modules.ui.scripts import call, pull

# Parts of a form that are visible, and have an effect, only when switched on. The scripts use these names.
SWITCHES = ("extra", "refine")

REQUESTS: dict[str, type[GenerationRequest]] = {"txt2img": Txt2ImgRequest, "img2img": Img2ImgRequest}


@dataclass
class _Tab:
    """A tab being built: `fields` collects the widget of each declared field in the order of placement."""

    name: str
    declared: dict[str, Param]
    catalog: Catalog
    fields: dict[str, Component] = field(default_factory=dict)
    switches: dict[str, gr.Checkbox] = field(default_factory=dict)

    def place(self, param: str, **layout: object) -> None:
        """Puts the widget of a declared field here."""
        self.fields[param] = form.widget(self.declared[param], self.catalog, self.name, **layout)

    def switch(self, name: str, label: str, elem: str, **layout: Any) -> None:
        """A checkbox that opens a part of the form."""
        elem_id = f"{self.name}_{elem}"
        self.switches[name] = gr.Checkbox(False, label=label, elem_id=elem_id, interactive=True, **layout)

    def part(self, name: str) -> None:
        """An empty element that a script fills."""
        part(name, self.name)

    @contextmanager
    def group(self, name: str) -> Generator[None]:
        """Controls that fold under a heading; `form/groups.js` fills it, with their values when they are folded."""
        self.part(f"group-{name}")
        with gr.Column(min_width=0, elem_id=f"{self.name}_group_{name}", elem_classes=["group"]):
            yield


@dataclass(frozen=True)
class BuiltTab:
    """What the page needs to know about a finished tab."""

    name: str
    fields: dict[str, Component]
    switches: dict[str, gr.Checkbox]

    @property
    def components(self) -> list[Component]:
        """What Generate reads and a script may set: the fields in order, then the switches of SWITCHES."""
        return [*self.fields.values(), *(self.switches[name] for name in SWITCHES)]


def generate_tab(name: str, catalog: Catalog) -> BuiltTab:
    """Builds the contents of a tab and its events."""
    tab = _Tab(name, params(REQUESTS[name]), catalog)
    with gr.Row(elem_id=f"{name}_toprow", elem_classes=["toprow"]):
        with gr.Column(min_width=0, elem_classes=["prompts"]):
            tab.place("prompt")
            tab.place("negative_prompt")
            tab.part("styles")
        with gr.Column(min_width=0, elem_id=f"{name}_actions_column", elem_classes=["actions"]):
            generate = gr.Button("Generate", variant="primary", elem_id=f"{name}_generate")
            tab.part("run")
            tab.part("prompt-tools")
    with gr.Row(elem_classes=["workspace"]):
        with gr.Column(min_width=0, elem_id=f"{name}_settings", elem_classes=["settings"]):
            if name == "img2img":
                _img2img_settings(tab)
            else:
                _txt2img_settings(tab)
            _seed(tab)
            with tab.group("control"):
                tab.part("control")
            tab.part("script")
        with gr.Column(min_width=0, elem_id=f"{name}_results", elem_classes=["results"]):
            tab.part("result")
    built = BuiltTab(name, tab.fields, tab.switches)
    _events(built, generate)
    return built


def _img2img_settings(tab: _Tab) -> None:
    canvas(tab.part)
    with gr.Row(elem_classes=["halves", "essentials"]):
        tab.place("denoising_strength", min_width=160)
        tab.place("cfg_scale", min_width=160)
    tab.part("ladder")
    tab.place("image_cfg_scale")
    tab.part("depth")
    tab.part("intents")
    tab.part("regions")
    tab.place("keep_unchanged", container=False)
    with gr.Row(elem_id="img2img_changes", elem_classes=["extra", "closed", "thirds"]):
        for name in ("change_sensitivity", "change_grow", "change_feather"):
            tab.place(name, min_width=120)
    mask_controls(tab.place, tab.part)
    _sampler(tab)
    with tab.group("size"):
        tab.place("resize_mode")
        with gr.Row(elem_classes=["sizes"]):
            with gr.Column(min_width=0, elem_id="img2img_tabs_resize", elem_classes=["size"]):
                tab.part("size-tabs")
                _width_and_height(tab)
                with gr.Column(min_width=0, elem_id="img2img_tab_resize_by"):
                    tab.place("resize_by")
                    tab.part("size-text")
            _batch(tab)
    tab.part("size-warning")
    tab.part("size-hint")
    with gr.Row(elem_classes=["switches"]):
        tab.switch("refine", "Refiner", "enable", min_width=90, container=False)
    _refiner(tab)


def _txt2img_settings(tab: _Tab) -> None:
    _sampler(tab)
    with gr.Row(elem_classes=["switches"]):
        tab.place("enable_hr", min_width=90, container=False)
        tab.switch("refine", "Refiner", "enable", min_width=90, container=False)
    _hires(tab)
    _refiner(tab)
    with tab.group("size"), gr.Row(elem_classes=["sizes"]):
        with gr.Column(min_width=0, elem_classes=["size"]):
            _width_and_height(tab)
        _batch(tab)
    tab.part("size-warning")
    tab.place("cfg_scale")


def _width_and_height(tab: _Tab) -> None:
    with gr.Row(elem_id=f"{tab.name}_tab_resize_to", elem_classes=["size-row"]):
        with gr.Column(min_width=0, elem_classes=["size-sliders"]):
            tab.place("width")
            tab.place("height")
        tab.part("size-tools")


def _sampler(tab: _Tab) -> None:
    with tab.group("sampling"), gr.Row(elem_classes=["sampler"]):
        tab.place("sampler_name", min_width=120)
        tab.place("scheduler", min_width=120)
        tab.place("steps", min_width=140)


def _batch(tab: _Tab) -> None:
    with gr.Column(min_width=0, elem_classes=["batch"]):
        tab.place("n_iter")
        tab.place("batch_size")


def _hires(tab: _Tab) -> None:
    """The controls of Hires. fix: size and strength first, then the values that the second pass may override."""
    with gr.Column(min_width=0, elem_id=f"{tab.name}_hr", elem_classes=["extra", "closed"]):
        with gr.Row(elem_classes=["thirds"]):
            tab.place("hr_upscaler", min_width=120)
            tab.place("hr_second_pass_steps", min_width=120)
            tab.place("denoising_strength", min_width=120)
        with gr.Row(elem_classes=["thirds"]):
            tab.place("hr_scale", min_width=120)
            tab.place("hr_resize_x", min_width=120)
            tab.place("hr_resize_y", min_width=120)
        tab.part("hires-text")
        with gr.Row(elem_classes=["thirds"]):
            tab.place("hr_checkpoint_name", min_width=120)
            tab.place("hr_sampler_name", min_width=120)
            tab.place("hr_scheduler", min_width=120)
        with gr.Row(elem_classes=["halves"]):
            tab.place("hr_prompt", min_width=120)
            tab.place("hr_negative_prompt", min_width=120)


def _refiner(tab: _Tab) -> None:
    with gr.Row(elem_id=f"{tab.name}_refiner", elem_classes=["extra", "closed", "halves"]):
        tab.place("refiner_checkpoint", min_width=120)
        tab.place("refiner_switch_at", min_width=120)


def _seed(tab: _Tab) -> None:
    with tab.group("seed"):
        with gr.Row(elem_classes=["seed"]):
            tab.place("seed", min_width=120)
            tab.part("seed-tools")
            tab.switch("extra", "Extra", "subseed_show", min_width=60, container=False)
        with gr.Column(min_width=0, elem_id=f"{tab.name}_seed_extras", elem_classes=["extra", "closed"]):
            with gr.Row(elem_classes=["seed"]):
                tab.place("subseed", min_width=120)
                tab.part("subseed-tools")
            tab.place("subseed_strength")
            tab.place("seed_resize_from_w")
            tab.place("seed_resize_from_h")
    tab.part("override")


def _events(tab: BuiltTab, generate: gr.Button) -> None:
    generate.click(
        fn=None,
        js=call("generate", tab.name),
        inputs=tab.components,
        api_visibility="private",
        show_progress="hidden",
    )
    for name, component in [*tab.fields.items(), *tab.switches.items()]:
        component.change(  # pyright: ignore[reportAttributeAccessIssue] - Gradio adds events to its classes at run time
            fn=None, js=call("changed", tab.name, name), inputs=[component], api_visibility="private"
        )
    pull(tab.name, tab.components)
