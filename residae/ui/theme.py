"""How the page looks: its theme, style sheet and script."""

import gradio as gr

from residae.ui import static

THEME = gr.themes.Base(
    primary_hue="blue",
    neutral_hue="neutral",
    radius_size="sm",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(
    body_background_fill="#f4f4f4",
    body_background_fill_dark="#171717",
    block_background_fill="#ffffff",
    block_background_fill_dark="#202020",
    block_border_color="#dcdcdc",
    block_border_color_dark="#343434",
    body_text_color_subdued="#595959",
    body_text_color_subdued_dark="#b4b4b4",
    block_info_text_color="#595959",
    block_info_text_color_dark="#b4b4b4",
    color_accent="#2563eb",
    button_primary_background_fill="#2563eb",
    button_primary_background_fill_dark="#2563eb",
    button_primary_background_fill_hover="#1d4ed8",
    button_primary_background_fill_hover_dark="#1d4ed8",
    block_label_background_fill="#ffffff",
    block_label_background_fill_dark="#202020",
)

CSS = static.read("page.css") + static.read("viewer.css")
HEAD = f"<script>{''.join(map(static.read, ('session.js', 'page.js', 'drop.js')))}</script>"
