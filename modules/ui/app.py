"""The page as a whole: checkpoint selector on top, tabs below, and how it is mounted on the server.

Gradio's server computes nothing: the page's scripts use the routes under /v1, and no event reaches Gradio's server.
"""

import json
import os
from dataclasses import dataclass
from typing import Any, Literal

# Gradio reads this at import: without it, Blocks() looks for new versions on the network and sends usage data.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
from gradio.components import Component
from starlette.routing import Mount

from modules.base.fields import params
from modules.images.detect import DETECTOR_NAMES
from modules.images.scratches import SENSITIVITY
from modules.prompts.tags import TAG
from modules.schema.catalog import Catalog
from modules.schema.intents import INTENTS
from modules.schema.resize_modes import RESIZE_MODES
from modules.schema.settings import Settings
from modules.ui import assets, form
from modules.ui.control import control_units
from modules.ui.extras_tab import extras_controls, extras_tab
from modules.ui.generate_tabs import REQUESTS, SWITCHES, BuiltTab, generate_tab
from modules.ui.merge_tab import merge_controls
from modules.ui.only_page import OnlyPage
from modules.ui.parts import part
from modules.ui.scripts import call, pull
from modules.ui.settings_tab import ON_TOP, PREFIX, declared, settings_tab
from modules.ui.theme import theme

Theme = Literal["auto", "light", "dark"]


@dataclass(frozen=True)
class Page:
    """The page, ready to be mounted. `config` is what its scripts need to know about the form."""

    blocks: gr.Blocks
    config: dict[str, Any]


def build_page(catalog: Catalog, settings: Settings) -> Page:
    """The page with the names in `catalog`. A browser asks for the current values when it opens."""
    with gr.Blocks(analytics_enabled=False, title="Palimpsest", fill_width=True) as blocks:
        checkpoint = _header(catalog, settings)
        with gr.Column(min_width=0, elem_id="tabs"):  # no gr.Tabs: see generate_tabs.py
            part("tab-row")
            built: list[BuiltTab] = []
            for name in REQUESTS:
                with _panel(name):
                    built.append(generate_tab(name, catalog))
            with _panel("extras"):
                extras_tab()
            with _panel("pnginfo"):
                part("pnginfo")
            with _panel("history"):
                part("history")
            with _panel("merge"):
                part("merge")
            with _panel("fetch"):
                part("fetch")
            with _panel("settings"):
                setting_fields = settings_tab(catalog)
        blocks.load(fn=None, js=call("start"), api_visibility="private", show_progress="hidden")
        pull("checkpoint", [checkpoint, *_others(built)])
    return Page(blocks, _config(built, setting_fields))


def _others(tabs: list[BuiltTab]) -> list[Component]:
    """The other widgets that offer checkpoints, in the order in which the scripts list the fields."""
    return [
        component
        for tab in tabs
        for name, component in tab.fields.items()
        if params(REQUESTS[tab.name])[name].control.choices == "checkpoints"
    ]


def _panel(name: str) -> gr.Column:
    return gr.Column(min_width=0, elem_id=f"tab_{name}", elem_classes=["page-panel"])


def _header(catalog: Catalog, settings: Settings) -> Component:
    param = params(Settings)[ON_TOP]
    with gr.Row(elem_id="header"):
        part("brand")
        chosen: str | None = settings.sd_model_checkpoint
        if chosen not in catalog.names("checkpoints"):
            chosen = catalog.first_checkpoint.name if catalog.checkpoints else None
        checkpoint = form.widget(param, catalog, PREFIX, value=chosen, min_width=180)
        part("engine")
    checkpoint.input(  # pyright: ignore[reportAttributeAccessIssue] - Gradio adds events to its classes at run time
        fn=None, js=call("checkpointChosen"), inputs=[checkpoint], api_visibility="private"
    )
    return checkpoint


def _config(tabs: list[BuiltTab], setting_fields: dict[str, Component]) -> dict[str, Any]:
    """The fields of the form, in the order of the events' inputs, as JSON-able values."""
    return {
        "tabs": {
            tab.name: [form.described(params(REQUESTS[tab.name])[name], tab.name) for name in tab.fields]
            for tab in tabs
        },
        "switches": SWITCHES,
        "merge": merge_controls(),
        "extras": extras_controls(),
        "control": control_units(),
        "tag": TAG.pattern,
        "resize_modes": [{"effect": mode.effect, "fit": mode.fit} for mode in RESIZE_MODES],
        "detectors": DETECTOR_NAMES,
        "scratch_sensitivity": SENSITIVITY,
        "intents": [intent.described() for intent in INTENTS],
        "settings": [form.described(declared()[name], PREFIX) for name in setting_fields],
    }


def mount(api: Any, page: Page, mode: Theme = "auto") -> Any:
    """Mounts the page at "/" of `api`, a FastAPI with all its other routes: Gradio takes every remaining path.

    `mode` is the color mode for browsers in which nobody has chosen one.
    """
    api.mount(assets.base_url(), assets.serve, name="assets")
    head = assets.head(json.dumps({**page.config, "theme": mode}))
    app = gr.mount_gradio_app(
        api,
        page.blocks,
        path="/",
        theme=theme(),
        head=head,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        show_error=False,
    )
    mounted = app.router.routes[-1]
    assert isinstance(mounted, Mount)
    mounted.app = OnlyPage(mounted.app)
    return app
