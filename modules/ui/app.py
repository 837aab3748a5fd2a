"""The page as a whole: checkpoint selector on top, tabs below, and how it is mounted on the server.

Nothing here computes: the page's scripts talk to the routes under /v1, and Gradio's server is asked for no event at all.
"""

import json
import os
from typing import Any, Literal

# Read when Gradio is imported: without it, Blocks() asks the network for versions and reports itself.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr  # noqa: E402
from gradio.components import Component  # noqa: E402

from modules.catalog import Catalog  # noqa: E402
from modules.fields import params  # noqa: E402
from modules.settings import Settings  # noqa: E402
from modules.ui import assets, form  # noqa: E402
from modules.ui.generate_tabs import REQUESTS, BuiltTab, generate_tab  # noqa: E402
from modules.ui.scripts import call, pull  # noqa: E402
from modules.ui.settings_tab import ON_TOP, PREFIX, declared, settings_tab  # noqa: E402
from modules.ui.theme import theme  # noqa: E402

Theme = Literal["auto", "light", "dark"]


def build_page(catalog: Catalog, settings: Settings) -> gr.Blocks:
    """The page with the names of `catalog` on offer. What is set at the moment, a browser asks for when it opens."""
    with gr.Blocks(analytics_enabled=False, title="Palimpsest", fill_width=True) as page:
        checkpoint = _header(catalog, settings)
        with gr.Column(min_width=0, elem_id="tabs"):  # no gr.Tabs: see generate_tabs.py
            gr.HTML('<div class="part" data-part="tab-row"></div>', apply_default_css=False, elem_classes=["part-holder"])
            built: list[BuiltTab] = []
            for name in REQUESTS:
                with _panel(name):
                    built.append(generate_tab(name, catalog))
            with _panel("pnginfo"):
                gr.HTML('<div class="part" data-part="pnginfo"></div>', apply_default_css=False, elem_classes=["part-holder"])
            with _panel("settings"):
                setting_fields = settings_tab(catalog)
        page.load(fn=None, js=call("start"), api_visibility="private", show_progress="hidden")
        pull("checkpoint", [checkpoint])
    page.palimpsest_config = _config(built, setting_fields)  # pyright: ignore[reportAttributeAccessIssue]
    return page


def _panel(name: str) -> gr.Column:
    return gr.Column(min_width=0, elem_id=f"tab_{name}", elem_classes=["page-panel"])


def _header(catalog: Catalog, settings: Settings) -> Component:
    param = params(Settings)[ON_TOP]
    with gr.Row(elem_id="header"):
        gr.HTML('<div class="part" data-part="brand"></div>', apply_default_css=False, elem_classes=["part-holder", "holder-brand"])
        names = catalog.names("checkpoints")
        chosen = settings.sd_model_checkpoint if settings.sd_model_checkpoint in names else next(iter(names), None)
        checkpoint = form.widget(param, catalog, PREFIX, value=chosen, min_width=180)
        gr.HTML('<div class="part" data-part="engine"></div>', apply_default_css=False, elem_classes=["part-holder", "holder-engine"])
    checkpoint.input(  # pyright: ignore[reportAttributeAccessIssue] - Gradio adds events to its classes at run time
        fn=None, js=call("checkpointChosen"), inputs=[checkpoint], api_visibility="private"
    )
    return checkpoint


def _config(tabs: list[BuiltTab], setting_fields: dict[str, Component]) -> str:
    """What the scripts must know of the form, as JSON: fields in the order of the events' inputs."""
    return json.dumps(
        {
            "tabs": {
                tab.name: [form.described(params(REQUESTS[tab.name])[name], tab.name) for name in tab.fields]
                for tab in tabs
            },
            "settings": [form.described(declared()[name], PREFIX) for name in setting_fields],
        }
    )


def mount(api: Any, page: gr.Blocks, mode: Theme = "auto") -> Any:
    """Puts the page at "/" of `api`, a FastAPI that must have all its other routes already: Gradio takes what is left.

    `mode` is the colours a browser starts with that has chosen none itself.
    """
    api.mount(assets.base_url(), assets.serve, name="assets")
    config = json.dumps({**json.loads(page.palimpsest_config), "theme": mode})  # pyright: ignore
    return gr.mount_gradio_app(
        api,
        page,
        path="/",
        theme=theme(),
        head=assets.head(config),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        show_error=False,
    )
