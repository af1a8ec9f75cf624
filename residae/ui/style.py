"""How the page looks: theme, style sheet, and the script that the browser needs."""

import gradio as gr

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
    block_label_background_fill="#ffffff",
    block_label_background_fill_dark="#202020",
)

CSS = """
.gradio-container { max-width: 1560px !important; margin: 0 auto; font-variant-numeric: tabular-nums; }
.gradio-container { --surround: #e4e4e4; }
.gradio-container > .main { padding: 16px clamp(12px, 3vw, 32px) !important; }
.dark .gradio-container, .gradio-container.dark { --surround: #101010; }
header { display: flex; align-items: baseline; flex-wrap: wrap; gap: 0 14px; }
header h1 { font-size: 1.5rem; font-weight: 650; letter-spacing: -0.01em; margin: 0; }
header p, .numbers dt, .note { color: var(--body-text-color-subdued); margin: 0; }
header .device { margin-left: auto; }
#controls { position: sticky; top: 12px; align-self: flex-start; }
#upload .wrap { line-height: 1.3; font-size: 0.95rem; }
.grid-container { grid-template-columns: repeat(var(--grid-cols), minmax(0, 1fr)) !important; gap: 6px !important; }
.thumbnail-item { min-width: 0; }
#examples .caption-label { display: none; }
#stage .image-container, #stage .image-frame { background: var(--surround); }
#compare img { background: var(--surround) !important; }
#status { min-height: 44px; }
#stage .progress-level-inner, #stage .meta-text { font: inherit; font-size: 0.85rem; }
#stage .progress-bar-wrap { height: 4px; width: 100%; border: 0; background: var(--border-color-primary); }
#stage .meta-text, #stage .meta-text-center { display: none; }
#stage .alert { border-left: 3px solid #c2410c; padding: 6px 12px; background: var(--block-background-fill); }
.numbers { display: flex; flex-wrap: wrap; gap: 10px 30px; margin: 0; }
.numbers dt { font-size: 0.78rem; }
.numbers dd { font-size: 1.05rem; font-weight: 550; margin: 0; white-space: nowrap; }
#status p { margin: 0 0 2px; }
#opened-figures { min-height: 44px; }
#latents .grid-wrap { max-height: none; height: auto; }
#latents .caption-label { font-size: 0.7rem; padding: 1px 5px; }
#latents img, #channel img { image-rendering: pixelated; }
@media (max-width: 820px) {
  #bench { flex-direction: column; }
  #stage { order: -1; }
  #controls { position: static; width: 100%; }
  .numbers { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .numbers dd { white-space: normal; }
}
"""

HEAD = """
<script>
document.addEventListener("paste", (event) => {
  const input = document.querySelector("#upload input[type=file]");
  const pictures = [...event.clipboardData.files];
  if (!input || !pictures.length) return;
  const transfer = new DataTransfer();
  transfer.items.add(pictures[0]);
  input.files = transfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});
// Gradio tells of a slider's release by pointer only: let the keyboard and the number beside it count as well.
const release = (event) => {
  const range = event.target.closest("#quality")?.querySelector("input[type=range]");
  const typed = event.type === "change" && event.target.type === "number";
  const arrow = event.type === "keyup" && event.target === range;
  const pointer = new PointerEvent("pointerup", { bubbles: true });
  if (range && (typed || arrow)) setTimeout(() => range.dispatchEvent(pointer));
};
document.addEventListener("change", release);
document.addEventListener("keyup", release);
</script>
"""
