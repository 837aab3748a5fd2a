"""The Settings tab, built from the declarations of `Settings`; changes are sent to the server immediately."""

from itertools import groupby

import gradio as gr
from gradio.components import Component

from modules.base.fields import Param, params
from modules.schema.catalog import Catalog
from modules.schema.settings import Settings
from modules.ui import form
from modules.ui.parts import heading, part
from modules.ui.scripts import call, pull

PREFIX = "setting"
ON_TOP = "sd_model_checkpoint"  # it is above the tabs


def declared() -> dict[str, Param]:
    """The settings of this tab, by name."""
    return {name: param for name, param in params(Settings).items() if name != ON_TOP}


def settings_tab(catalog: Catalog) -> dict[str, Component]:
    """Builds the contents of the tab; returns the widgets by setting name."""
    fields: dict[str, Component] = {}
    with gr.Column(min_width=0, elem_id="settings_page"):
        part("settings-head")
        with gr.Row(elem_classes=["sections"]):
            for section, rows in groupby(declared().items(), lambda row: row[1].control.section):
                with gr.Column(elem_classes=["section"], min_width=320):
                    heading(section)
                    for name, param in rows:
                        fields[name] = form.widget(param, catalog, PREFIX, info=param.description)
    for name, component in fields.items():
        component.change(  # pyright: ignore[reportAttributeAccessIssue] - Gradio adds events to its classes at run time
            fn=None, js=call("settingChanged", name), inputs=[component], api_visibility="private"
        )
    pull(PREFIX, list(fields.values()))
    return fields
