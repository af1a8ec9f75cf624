"""How the page looks: its theme, style sheets and script. The theme has the colors; `page.css` has the sizes."""

import html

import gradio as gr

from residae.image import MAX_FILE_BYTES
from residae.ui import static

_COLORS = {  # light, dark; without a tint, because pictures are judged beside them
    "body_background_fill": ("#f2f2f2", "#141414"),
    "background_fill_primary": ("#ffffff", "#1d1d1d"),
    "background_fill_secondary": ("#e8e8e8", "#2a2a2a"),
    "block_background_fill": ("#ffffff", "#1d1d1d"),
    "block_label_background_fill": ("#ffffff", "#1d1d1d"),
    "block_border_color": ("#dcdcdc", "#333333"),
    "border_color_primary": ("#dcdcdc", "#333333"),
    "body_text_color": ("#1c1c1c", "#ededed"),
    "block_title_text_color": ("#5c5c5c", "#a3a3a3"),
    "block_label_text_color": ("#5c5c5c", "#a3a3a3"),
    "body_text_color_subdued": ("#5c5c5c", "#a3a3a3"),
    "block_info_text_color": ("#5c5c5c", "#a3a3a3"),
    "input_background_fill": ("#ffffff", "#141414"),
    "input_border_color": ("#c9c9c9", "#444444"),
    "color_accent": ("#1f5fe0", None),
    "slider_color": ("#1f5fe0", "#7aa8ff"),
    "button_primary_background_fill": ("#1f5fe0", "#7aa8ff"),
    "button_primary_background_fill_hover": ("#174bb5", "#9bbdff"),
    "button_primary_text_color": ("#ffffff", "#0c1426"),
    "button_secondary_background_fill": ("#e1e1e1", "#303030"),
    "button_secondary_background_fill_hover": ("#d3d3d3", "#3d3d3d"),
    "button_secondary_border_color": ("transparent", "transparent"),
    "button_secondary_text_color": ("#1c1c1c", "#ededed"),
    "checkbox_background_color_selected": ("#1f5fe0", "#3f78e0"),
    "checkbox_border_color_selected": ("#1f5fe0", "#3f78e0"),
}

THEME = gr.themes.Base(
    primary_hue="blue",
    neutral_hue="neutral",
    radius_size="sm",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(
    block_radius="8px",
    button_large_radius="6px",
    button_medium_radius="6px",
    button_small_radius="6px",
    layout_gap="12px",
    input_border_width="1px",
    button_transition="all 0.12s ease",  # Gradio's is 0.2 s
    **{name: light for name, (light, _) in _COLORS.items()},
    **{f"{name}_dark": dark for name, (_, dark) in _COLORS.items() if dark},
)

CSS = "".join(map(static.read, ("page.css", "viewer.css", "tabs.css")))
# What dom.js and session.js declare is also used by the scripts of the page's own components, which run later.
_SCRIPTS = ("dom.js", "session.js", "page.js", "drop.js", "tour.js", "explain.js")
HEAD = f"<script>const MAX_FILE_BYTES = {MAX_FILE_BYTES};\n{''.join(map(static.read, _SCRIPTS))}</script>"


def head(space: str | None) -> str:
    """What the page has in its head: its scripts, and the address of the code, to which its foot leads.

    Args:
        space: The Space that serves the page, as OWNER/NAME, whose files are the code; None where it is no Space, and
            no address is known.
    """
    if not space:
        return HEAD
    address = html.escape(f"https://huggingface.co/spaces/{space}/tree/main")
    return f'<meta name="residae-code" content="{address}">{HEAD}'
