"""Elements of the page that our scripts fill: empty, found by their `data-part`."""

import html

import gradio as gr


def part(name: str, tab: str = "") -> gr.HTML:
    """An empty element for the script that looks for `name`; it names its tab if several tabs have the same part."""
    of_tab = f' data-tab="{tab}"' if tab else ""
    return gr.HTML(
        f'<div class="part" data-part="{name}"{of_tab}></div>',
        apply_default_css=False,
        elem_classes=["part-holder", f"holder-{name}"],
    )


def heading(text: str) -> gr.HTML:
    """A heading within a tab."""
    return gr.HTML(f"<h2>{html.escape(text)}</h2>", apply_default_css=False, elem_classes=["part-holder"])
