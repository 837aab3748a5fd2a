"""How Gradio's events reach the page's ES modules, and how the modules reach Gradio's components.

An event calls a function exported by `assets/js/main.js` with the values of its inputs. In the other direction, a
script that changes the form presses a hidden button, whose event requests the new values.
"""

import json
from collections.abc import Sequence

import gradio as gr
from gradio.components import Component

from modules.ui.assets import base_url


def call(function: str, *fixed: str) -> str:
    """JavaScript for an event: `function` of main.js, with `fixed` arguments before the values of the inputs.

    >>> call("changed", "img2img")  # doctest: +SKIP
    'async (...values) => (await import("/assets/…/js/main.js")).changed("img2img", ...values)'
    """
    arguments = "".join(f"{json.dumps(value)}, " for value in fixed)
    return f'async (...values) => (await import("{base_url()}/js/main.js")).{function}({arguments}...values)'


def pull(name: str, outputs: Sequence[Component]) -> None:
    """A hidden button `<name>_apply`: pressed by a script, it sets `outputs` to what `take(name)` returns.

    When they are set, `taken(name)` is called.
    """
    button = gr.Button("", elem_id=f"{name}_apply", visible="hidden")
    button.click(
        fn=None, js=call("take", name), outputs=list(outputs), api_visibility="private", show_progress="hidden"
    ).then(fn=None, js=call("taken", name), api_visibility="private", show_progress="hidden")
