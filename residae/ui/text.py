"""Figures as HTML text that can be selected and copied, and sentences about them."""

import html
import math
from collections.abc import Sequence
from typing import Any

from residae import heatmaps
from residae.codec import FileInfo
from residae.compare import Comparison
from residae.metrics import bits_per_pixel
from residae.pipeline import Reconstruction

MAX_NAME = 40  # characters of a file name


def heading(device: str = "") -> str:
    """The heading of the page. `device` names the checkpoint and the device."""
    title = "<h1>Residae</h1><p>What a 16× bottleneck keeps of a picture</p>"
    theme = '<button type="button" id="theme" aria-label="Light or dark">◐</button>'
    return f'<header>{title}<p class="device">{html.escape(device)}</p>{theme}</header>'


def alert(message: object) -> str:
    """An error, as a sentence that screen readers announce."""
    return f'<p class="alert" role="alert">{html.escape(str(message))}</p>'


def note(message: str) -> str:
    """An explanation in small print."""
    return f'<p class="note">{html.escape(message)}</p>'


def definition_list(rows: dict[str, str]) -> str:
    """Figures by name. Values are HTML."""
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in rows.items())
    return f'<dl class="numbers">{items}</dl>'


# Reports


def report_figures(report: Reconstruction) -> str:
    """What the file costs, how far the reconstruction is off, and the sizes of picture and latent."""
    encoding, compressed = report.encoding, report.compressed
    shape = " × ".join(str(length) for length in encoding.latents[0].shape)
    rows: dict[str, str] = {}
    if compressed:
        size = len(compressed.data)
        rows |= {"File": kilobytes(size), "Rate": f"{bits_per_pixel(size, encoding.width, encoding.height):.3f} bpp"}
        rows |= {"Raw pixels": ratio(report.raw_bytes, size)}
        if report.file_bytes:
            rows["Your file"] = ratio(report.file_bytes, size)
    rows |= {
        "PSNR": decibels(report.psnr),
        "SSIM": similarity(report.ssim),
        "Numbers": fewer(encoding.width * encoding.height / encoding.latents[0].size),
        "Picture": f"{encoding.width:,} × {encoding.height:,} px",
        "Latent": shape if len(encoding.latents) == 1 else f"{shape}, chroma at half size",
        "Encoding": f"{encoding.seconds:.1f} s",
        "Decoding": f"{report.decoding.seconds:.1f} s",
    }
    return definition_list(rows)


def report_sentences(report: Reconstruction) -> str:
    """What the file costs, where the error is, and the notices about the picture."""
    sentences = [error_sentence(report), *report.notices]
    if report.compressed:
        size = len(report.compressed.data)
        times = report.raw_bytes / size
        comparison = f", {times:,.0f} times fewer than the raw pixels" if times >= 1 else ""
        sentences.insert(0, f"The file takes {kilobytes(size)}{comparison}.")
    return f"<p>{html.escape(' '.join(sentences))}</p>"


def error_sentence(report: Reconstruction) -> str:
    """Where the error is."""
    return heatmaps.where_error(report.original, report.decoding.pixels)


def edited_sentence(report: Reconstruction, unedited: float) -> str:
    """What the edits cost, `unedited` being the PSNR without them."""
    change = report.psnr - unedited
    comparison = "the same as unedited"
    if not math.isclose(report.psnr, unedited, abs_tol=0.005):
        comparison = f"{decibels(abs(change))} {'more' if change > 0 else 'less'} than unedited"
    return f"<p><b>{decibels(report.psnr)}</b>, {comparison}. {html.escape(error_sentence(report))}</p>"


# Channels


def channel_sentence(bits: Any) -> str:
    """Which channels take most of the bits, of which there are (C,)."""
    return f"<p>{html.escape(heatmaps.where_bits(bits))}</p>"


def channel_figures(values: Any) -> str:
    """Statistics of the (h, w) values of a channel."""
    statistics = heatmaps.channel_statistics(values)
    figures = (
        f"mean {statistics.mean:.4g}, standard deviation {statistics.standard_deviation:.4g}, "
        f"range {statistics.minimum:.4g} to {statistics.maximum:.4g}"
    )
    return figures.replace("-", "\N{MINUS SIGN}")


# Files


def file_figures(info: FileInfo) -> str:
    """What the header of a `.rae` file says."""
    return definition_list(
        {
            "Picture": f"{info.width:,} × {info.height:,} px, {'color' if info.color else 'gray'}",
            "File": kilobytes(info.file_bytes),
            "Rate": f"{info.bits_per_pixel:.3f} bpp",
            "Quality": f"{info.quality:g}",
            "Scale": f"{info.scale:g}",
            "Planes": " + ".join(f"{size:,}" for size in info.plane_bytes) + " bytes",
            "Checkpoint": html.escape(info.name),
            "Fingerprint": info.fingerprint,
        }
    )


def short_name(name: str) -> str:
    """A file's name that can be shown and written: printable, without separators, at most MAX_NAME characters."""
    clean = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in name)
    return clean if len(clean) <= MAX_NAME else f"{clean[: MAX_NAME - 16]}…{clean[-15:]}"


# Comparisons


def comparison_table(comparison: Comparison) -> str:
    """Bytes, PSNR, SSIM and MS-SSIM of each codec."""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Codec", "Bytes", "PSNR", "SSIM", "MS-SSIM"))
    rows = ""
    for result in comparison.results:
        if result.pixels is None:
            cells = '<td colspan="4">cannot make a file this small</td>'
        else:
            figures = (decibels(result.psnr), similarity(result.ssim), similarity(result.ms_ssim))
            cells = "".join(f"<td>{figure}</td>" for figure in (f"{result.bytes:,}", *figures))
        rows += f'<tr><th scope="row">{result.name}</th>{cells}</tr>'
    return f'<table class="figures"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def verdict(comparison: Comparison) -> str:
    """Which codecs have less, as much or more PSNR than ours, as rounded in the table."""
    ours, *others = comparison.results
    own, shown = round(ours.psnr, 2), {c.name: round(c.psnr, 2) for c in others if c.pixels is not None}
    sentences = [f"At {ours.bytes:,} bytes this network has {decibels(ours.psnr)}."]
    for comparative, names in (
        ("less", [name for name, psnr in shown.items() if psnr < own]),
        ("as much", [name for name, psnr in shown.items() if psnr == own]),
        ("more", [name for name, psnr in shown.items() if psnr > own]),
    ):
        if names:
            sentences.append(f"{join_names(names)} {'has' if len(names) == 1 else 'have'} {comparative}.")
    unable = [c.name for c in others if c.pixels is None]
    if unable:
        sentences.append(f"{join_names(unable)} cannot make a file this small.")
    return f"<p>{' '.join(sentences)}</p>"


def join_names(names: Sequence[str]) -> str:
    """Such as `JPEG, WebP and AVIF`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# Numbers


def decibels(value: float) -> str:
    """A PSNR, which is infinite for an exact copy."""
    return "∞ dB" if math.isinf(value) else f"{value:.2f} dB"


def similarity(value: float) -> str:
    """An SSIM, which is not a number for a picture that is too small for it."""
    return "–" if math.isnan(value) else f"{value:.4f}"


def kilobytes(size: int) -> str:
    return f"{size / 1000:,.1f} kB" if size >= 1000 else f"{size} bytes"


def ratio(size: int, file_size: int) -> str:
    return f"{size / file_size:.3g} : 1" if size < 100 * file_size else f"{size / file_size:,.0f} : 1"


def fewer(times: float) -> str:
    return f"{times:.1f}× fewer" if times >= 1 else f"{1 / times:.1f}× more"
