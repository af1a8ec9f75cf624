"""The page: layout, handlers, wiring. What it shows is computed in `residae`."""

import functools
import html
import math
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache

import residae.examples
from residae import views
from residae.codec import Info
from residae.engine import Progress
from residae.errors import ResidaeError
from residae.image import MAX_FILE_BYTES, Picture, fit, open_picture
from residae.session import Encoding, Laboratory, Report

EXAMPLES = residae.examples.paths()
CPU_SIDE, NO_LIMIT = 1024, 0  # pixels on the long side that are worked on
QUALITY = 80
SIZES = [("Up to 1,024 px", CPU_SIDE), ("Full size", NO_LIMIT)]
PLANES = ("Luma", "Blue chroma", "Red chroma")
SIZE_NOTE = "Along the long side. A CPU takes seconds for 1,024 px, and minutes for pictures of many megapixels."
LATENT_NOTE = (
    "Each square is one cell of 16 × 16 pixels of its plane. All channels share one scale, centred on each one's mean: "
    "the vivid ones vary most. Choose one to see it on its own scale."
)

LOCK = threading.Lock()
KEPT: dict[Any, Report] = {}  # on our own pictures, so that they are one click away; a megabyte or two each
MOST_KEPT = 40


class Shown(NamedTuple):
    """What the page shows now, from which another rate of it is decoded."""

    path: str
    side: int
    encoding: Encoding


@functools.cache
def _open_laboratory() -> Laboratory:
    return Laboratory.open()


def laboratory() -> Laboratory:
    """The one checkpoint in memory, loaded when it is first needed, and once."""
    with LOCK:
        return _open_laboratory()


def warm_up() -> None:
    """Load the weights, and have the first visitor's picture ready."""
    with suppress(ResidaeError):  # whoever asks next is told
        examine(EXAMPLES[0], True, CPU_SIDE, QUALITY, lambda share: None)


def open_fitted(path: str, side: int) -> Picture:
    picture = open_picture(path)
    return fit(picture, side or max(picture.width, picture.height))


def examine(path: str, color: bool, side: int, quality: float | None, progress: Progress) -> Report:
    settings = path, color, side, quality
    report = KEPT.pop(settings, None) or laboratory().examine(open_fitted(path, side), color, quality, progress)
    if path in EXAMPLES:
        KEPT[settings] = report  # the latest last
        while len(KEPT) > MOST_KEPT:
            del KEPT[next(iter(KEPT))]
    return report


# Words and numbers


def alert(message: object) -> str:
    return f'<p class="alert" role="alert">{html.escape(str(message))}</p>'


def numbers(report: Report) -> str:
    """The panel of figures, as a list that can be selected and copied."""
    encoding, compressed = report.encoding, report.compressed
    shape = " × ".join(str(length) for length in encoding.latents[0].shape)
    rows = {"PSNR": f"{report.psnr:.2f} dB", "SSIM": "–" if math.isnan(report.ssim) else f"{report.ssim:.4f}"}
    if compressed:
        size = len(compressed.data)
        rows |= {
            "File": kilobytes(size),
            "Rate": f"{8 * size / (encoding.width * encoding.height):.3f} bpp",
            "Raw pixels": ratio(report.original.size, size),
        }
        if report.file_bytes:
            rows["Your file"] = ratio(report.file_bytes, size)
    rows |= {
        "Numbers": f"{laboratory().ratio:.1f}× fewer" + (" per plane" if len(encoding.latents) > 1 else ""),
        "Picture": f"{encoding.width:,} × {encoding.height:,} px",
        "Latent": shape if len(encoding.latents) == 1 else f"{shape}, chroma at half size",
        "Encoding": f"{encoding.seconds:.1f} s",
        "Decoding": f"{report.decoding.seconds:.1f} s",
    }
    return definition_list(rows)


def kilobytes(size: int) -> str:
    return f"{size / 1000:,.1f} kB" if size >= 1000 else f"{size} bytes"


def ratio(size: int, ours: int) -> str:
    return f"{size / ours:.3g} : 1" if size < 100 * ours else f"{size / ours:,.0f} : 1"


def definition_list(rows: dict[str, str]) -> str:
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in rows.items())
    return f'<dl class="numbers">{items}</dl>'


def channel_numbers(index: int, values: Any) -> str:
    statistics = views.channel_statistics(values)
    rows = {
        "Channel": str(index + 1),
        "Mean": f"{statistics.mean:.4g}",
        "Spread": f"{statistics.standard_deviation:.4g}",
        "Range": f"{statistics.minimum:.4g} to {statistics.maximum:.4g}",
    }
    return definition_list(rows)


def heading(device: str = "") -> str:
    title = "<h1>Residae</h1><p>What a 16× bottleneck keeps of a picture</p>"
    return f'<header>{title}<p class="device">{html.escape(device)}</p></header>'


def sentences(report: Report) -> str:
    words = [views.where_error(report.original, report.decoding.pixels), *report.notices]
    if report.compressed:
        size = len(report.compressed.data)
        times = report.original.size / size
        than = f", {times:,.0f} times less than its pixels" if times >= 1 else ""
        words.insert(0, f"This picture costs {kilobytes(size)}{than}.")
    return f"<p>{html.escape(' '.join(words))}</p>"


def contents(info: Info) -> str:
    """What a file says of itself."""
    return definition_list(
        {
            "Picture": f"{info.width:,} × {info.height:,} px, {'colour' if info.color else 'gray'}",
            "File": kilobytes(info.file_bytes),
            "Rate": f"{info.bits_per_pixel:.3f} bpp",
            "Quality": f"{info.quality:g}",
            "Planes": " + ".join(f"{size:,}" for size in info.plane_bytes) + " bytes",
            "Checkpoint": f"{html.escape(info.name)} ({info.fingerprint})",
        }
    )


# Handlers


def told(progress: gr.Progress) -> Progress:
    """Tell the page how far the work is and how long it will take."""
    start = time.monotonic()

    def tell(share: float) -> None:
        left = (time.monotonic() - start) * (1 - share) / share
        progress(share, desc=f"About {left:.0f} s left")

    return tell


def show(
    path: str | None,
    color: bool,
    side: int,
    quality: float,
    exact: bool,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
) -> dict[Any, Any]:
    """Put a picture through the network and fill the page with what came out."""
    if not path:
        return {status: ""}
    try:
        report = examine(path, color, side, None if exact else quality, told(progress))
    except ResidaeError as error:
        return {status: alert(error)}
    planes = PLANES[: len(report.encoding.latents)]
    return {
        header: heading(f"{laboratory().name} · {laboratory().engine.description}"),
        before: report.original,
        shown: Shown(path, side, report.encoding),
        plane: gr.Radio(planes, value=planes[0], visible=len(planes) > 1),
        latents: tiles(report.encoding, planes[0]),
        **enlarged(report.encoding, planes[0], 0),
        **rated(report),
    }


def show_rate(
    shown_now: Shown | None,
    quality: float,
    exact: bool,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
) -> dict[Any, Any]:
    """The picture that is shown at another rate: decoded again, not encoded again."""
    if not shown_now:
        return {status: ""}
    try:
        compressed = None if exact else laboratory().compress(shown_now.encoding, quality)
        picture = open_fitted(shown_now.path, shown_now.side)
        report = laboratory().judge(picture, shown_now.encoding, compressed, told(progress))
    except ResidaeError as error:
        return {status: alert(error)}
    return rated(report)


def open_file(path: str, progress: gr.Progress = gr.Progress()) -> dict[Any, Any]:  # noqa: B008
    """The picture in a .rae file."""
    try:
        info, decoding = laboratory().decompress(Path(path).read_bytes(), told(progress))
    except ResidaeError as error:
        return {rae: None, opened_figures: alert(error)}
    return {rae: None, opened: decoding.pixels, opened_figures: contents(info)}


def rated(report: Report) -> dict[Any, Any]:
    """What changes with the rate: the reconstruction, and all that is measured on it."""
    original, rebuilt = report.original, report.decoding.pixels
    scale = views.error_scale(original, rebuilt)
    return {
        compare: (original, rebuilt),
        after: rebuilt,
        absolute: views.error_map(original, rebuilt, signed=False, scale=scale),
        absolute_bar: views.color_bar(scale, signed=False),
        signed: views.error_map(original, rebuilt, signed=True, scale=scale),
        signed_bar: views.color_bar(scale, signed=True),
        histogram: views.error_histogram(original, rebuilt),
        figures: numbers(report),
        status: sentences(report),
        download: file_to_keep(report),
    }


def file_to_keep(report: Report) -> gr.DownloadButton:
    if not report.compressed:
        return gr.DownloadButton("No file of an unquantised latent", value=None, interactive=False)
    path = save_bytes_to_cache(report.compressed.data, "picture.rae", download.GRADIO_CACHE)
    return gr.DownloadButton(f"Download .rae, {kilobytes(len(report.compressed.data))}", value=path, interactive=True)


def tiles(encoding: Encoding, name: str) -> list[tuple[Any, str]]:
    pictures = views.latent_tiles(encoding.latents[PLANES.index(name)])
    return [(picture, f"Channel {number}") for number, picture in enumerate(pictures, start=1)]


def enlarged(encoding: Encoding, name: str, index: int) -> dict[Any, Any]:
    values = encoding.latents[PLANES.index(name)][index]
    return {channel: views.latent_channel(values), channel_figures: channel_numbers(index, values)}


def show_plane(shown_now: Shown | None, name: str) -> dict[Any, Any]:
    return {latents: tiles(shown_now.encoding, name), **enlarged(shown_now.encoding, name, 0)} if shown_now else {}


def show_channel(shown_now: Shown, name: str, event: gr.SelectData) -> dict[Any, Any]:
    return enlarged(shown_now.encoding, name, int(event.index))


def take(path: str) -> dict[Any, Any]:
    """Keep the file in mind, and leave the drop zone ready for the next."""
    return {source: path, upload: None}


def pick_example(event: gr.SelectData) -> str:
    return EXAMPLES[int(event.index)]


def first_visit() -> tuple[str, int]:
    on_gpu = False
    with suppress(ResidaeError):  # the example will meet the same error, and show it
        on_gpu = laboratory().engine.on_gpu
    return EXAMPLES[0], NO_LIMIT if on_gpu else CPU_SIDE


# Layout


def picture(name: str, label: str, alt_text: str, buttons: Sequence[Any] = ("fullscreen",)) -> gr.Image:
    """A picture that is only shown, without loss."""
    return gr.Image(label=label, alt_text=alt_text, buttons=[*buttons], format="png", interactive=False, elem_id=name)


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

with gr.Blocks(title="Residae", analytics_enabled=False, delete_cache=(600, 3600), fill_width=True) as demo:
    source = gr.State()
    shown = gr.State()
    header = gr.HTML(heading())
    with gr.Row(elem_id="bench"):
        with gr.Column(scale=0, min_width=320, elem_id="controls"):
            upload = gr.File(label="Drop, paste or choose a picture", elem_id="upload", height=130)
            examples = gr.Gallery(
                [(path, Path(path).stem.capitalize()) for path in EXAMPLES],
                label="Or take one of ours",
                show_label=False,
                columns=5,
                height=66,
                object_fit="cover",
                allow_preview=False,
                buttons=[],
                elem_id="examples",
            )
            color = gr.Radio([("Colour", True), ("Gray", False)], value=True, label="Work in", elem_id="color")
            quality = gr.Slider(0, 100, value=QUALITY, step=1, label="Quality of the file", elem_id="quality")
            exact = gr.Checkbox(label="Skip the file: decode the unquantised latent", elem_id="exact")
            download = gr.DownloadButton("Download .rae", interactive=False, elem_id="download")
            side = gr.Radio(SIZES, value=CPU_SIDE, label="Working size", info=SIZE_NOTE, elem_id="side")
        with gr.Column(scale=1, elem_id="stage"):
            status = gr.HTML(elem_id="status")
            with gr.Tabs():
                with gr.Tab("Compare"):
                    compare = gr.ImageSlider(
                        format="png",
                        label="Original, left, and reconstruction, right",
                        show_label=False,
                        max_height=620,
                        buttons=["fullscreen"],
                        elem_id="compare",
                    )
                    with gr.Row():
                        before = picture("before", "Original", "The original picture")
                        after = picture(
                            "after", "Reconstruction", "The picture rebuilt from its latent", ["fullscreen", "download"]
                        )
                with gr.Tab("Error"):
                    kind = gr.Radio(["Absolute", "Signed"], value="Absolute", show_label=False, container=False)
                    with gr.Column() as absolute_view:
                        absolute = picture("absolute", "Absolute error", "Map of the absolute error at each pixel")
                        absolute_bar = gr.HTML()
                    with gr.Column(visible=False) as signed_view:
                        signed = picture("signed", "Signed error", "Map of the signed error at each pixel")
                        signed_bar = gr.HTML()
                    histogram = gr.HTML()
                with gr.Tab("Latent"):
                    plane = gr.Radio(PLANES[:1], value=PLANES[0], show_label=False, container=False, visible=False)
                    with gr.Row():
                        latents = gr.Gallery(
                            format="png",
                            columns=4,
                            allow_preview=False,
                            show_label=False,
                            label="Latent channels",
                            buttons=[],
                            elem_id="latents",
                        )
                        with gr.Column():
                            channel = picture("channel", "Channel", "The chosen latent channel, enlarged")
                            channel_figures = gr.HTML(elem_id="channel-figures")
                            gr.HTML(f'<p class="note">{LATENT_NOTE}</p>')
                with gr.Tab("Open a file"):
                    rae = gr.File(label="Drop or choose a .rae file", elem_id="rae", height=130)
                    opened_figures = gr.HTML(elem_id="opened-figures")
                    opened = picture(
                        "opened", "Picture in the file", "The picture in the file", ("fullscreen", "download")
                    )
            figures = gr.HTML(elem_id="figures")

    # Wiring

    measured = [status, compare, after, absolute, absolute_bar, signed, signed_bar, histogram, figures, download]
    encoded = [header, before, shown, plane, latents, channel, channel_figures]
    # The last of several requests counts: none is dropped while another is worked on.
    work = {"show_progress_on": status, "concurrency_id": "model", "trigger_mode": "always_last"}
    anew = {"fn": show, "inputs": [source, color, side, quality, exact], "outputs": [*measured, *encoded], **work}
    upload.upload(take, upload, [upload, source], queue=False).then(**anew)
    examples.select(pick_example, outputs=source, queue=False).then(**anew)
    demo.load(first_visit, outputs=[source, side], queue=False).then(**anew)
    gr.on([color.input, side.input], **anew)
    gr.on([quality.release, exact.input], show_rate, [shown, quality, exact], measured, **work)
    rae.upload(open_file, rae, [rae, opened, opened_figures], show_progress_on=opened_figures, concurrency_id="model")
    kind.input(
        lambda kind: (gr.Column(visible=kind == "Absolute"), gr.Column(visible=kind == "Signed")),
        kind,
        [absolute_view, signed_view],
        queue=False,
    )
    plane.input(show_plane, [shown, plane], [latents, channel, channel_figures])
    latents.select(show_channel, [shown, plane], [channel, channel_figures])


def main() -> None:
    threading.Thread(target=warm_up, daemon=True).start()  # the page answers while the weights load
    demo.queue(max_size=20).launch(
        theme=THEME, css=CSS, head=HEAD, max_file_size=MAX_FILE_BYTES, ssr_mode=False, footer_links=["api", "gradio"]
    )


if __name__ == "__main__":
    main()
