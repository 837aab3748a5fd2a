"""Gradio's theme, with the page's own colors.

Each of Gradio's variables is set to one of ours (`assets/css/tokens.css`), so light and dark are defined in one place.
System fonts only: a named web font would be fetched from the network.
"""

import gradio as gr

SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Helvetica Neue", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

# Gradio's variable -> ours. Both modes use the same names; our variables change with the mode.
COLORS = {
    "body_background_fill": "--paper",
    "body_text_color": "--ink",
    "body_text_color_subdued": "--soft",
    "background_fill_primary": "--panel",
    "background_fill_secondary": "--paper",
    "block_background_fill": "--panel",
    "block_border_color": "--line",
    "block_label_text_color": "--soft",
    "block_title_text_color": "--soft",
    "block_info_text_color": "--soft",
    "border_color_primary": "--line",
    "border_color_accent": "--accent",
    "color_accent_soft": "--accent-wash",
    "link_text_color": "--accent-text",
    "input_background_fill": "--field",
    "input_background_fill_focus": "--field",
    "input_border_color": "--line-strong",
    "input_border_color_hover": "--soft",
    "input_border_color_focus": "--focus",
    "input_placeholder_color": "--faint",
    "slider_color": "--accent",
    "checkbox_background_color": "--field",
    "checkbox_background_color_hover": "--field",
    "checkbox_background_color_focus": "--field",
    "checkbox_background_color_selected": "--accent",
    "checkbox_border_color": "--line-strong",
    "checkbox_border_color_hover": "--soft",
    "checkbox_border_color_focus": "--focus",
    "checkbox_border_color_selected": "--accent",
    "checkbox_label_background_fill": "--field",
    "checkbox_label_background_fill_hover": "--hover",
    "checkbox_label_background_fill_selected": "--accent-wash",
    "checkbox_label_border_color": "--line-strong",
    "checkbox_label_border_color_hover": "--soft",
    "checkbox_label_border_color_selected": "--accent",
    "checkbox_label_text_color": "--ink",
    "checkbox_label_text_color_selected": "--ink",
    "button_primary_background_fill": "--accent",
    "button_primary_background_fill_hover": "--accent-strong",
    "button_primary_text_color": "--on-accent",
    "button_primary_text_color_hover": "--on-accent",
    "button_primary_border_color": "--accent",
    "button_primary_border_color_hover": "--accent-strong",
    "button_secondary_background_fill": "--field",
    "button_secondary_background_fill_hover": "--hover",
    "button_secondary_text_color": "--ink",
    "button_secondary_text_color_hover": "--ink",
    "button_secondary_border_color": "--line-strong",
    "button_secondary_border_color_hover": "--soft",
}
PLAIN = {
    "block_border_width": "0px",
    "block_padding": "0px",
    "block_radius": "8px",
    "block_shadow": "none",
    "block_label_shadow": "none",
    "block_title_text_size": "12.5px",
    "block_title_text_weight": "500",
    "input_border_width": "1px",
    "input_padding": "7px 9px",
    "input_radius": "6px",
    "input_shadow": "none",
    "input_shadow_focus": "none",
    "input_text_size": "14px",
    "checkbox_label_padding": "5px 10px",
    "checkbox_label_gap": "6px",
    "checkbox_label_text_size": "13px",
    "checkbox_shadow": "none",
    "checkbox_label_shadow": "none",
    "layout_gap": "10px",
    "form_gap_width": "0px",
    "button_large_radius": "8px",
    "button_primary_shadow": "none",
    "button_primary_shadow_hover": "none",
    "button_secondary_shadow": "none",
}


def theme() -> gr.themes.Base:
    """The page's theme."""
    colors = {
        name + mode: f"var({ours})" for name, ours in COLORS.items() for mode in ("", "_dark")
    }  # fmt: skip
    return gr.themes.Base(font=list(SANS), font_mono=list(MONO)).set(**colors, **PLAIN)
