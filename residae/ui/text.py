"""Figures as words: HTML that can be selected and copied."""

import html
import math
from collections.abc import Sequence
from typing import Any

from residae import heatmaps
from residae.codec import FileInfo
from residae.compare import Comparison
from residae.metrics import bits_per_pixel
from residae.pipeline import Reconstruction


def alert(message: object) -> str:
    return f'<p class="alert" role="alert">{html.escape(str(message))}</p>'


def numbers(report: Reconstruction) -> str:
    """The panel of figures, as a list that can be selected and copied."""
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


def decibels(value: float) -> str:
    """A PSNR, which of an exact copy is infinite."""
    return "∞ dB" if math.isinf(value) else f"{value:.2f} dB"


def similarity(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"


def kilobytes(size: int) -> str:
    return f"{size / 1000:,.1f} kB" if size >= 1000 else f"{size} bytes"


def ratio(size: int, ours: int) -> str:
    return f"{size / ours:.3g} : 1" if size < 100 * ours else f"{size / ours:,.0f} : 1"


def fewer(times: float) -> str:
    return f"{times:.1f}× fewer" if times >= 1 else f"{1 / times:.1f}× more"


def definition_list(rows: dict[str, str]) -> str:
    """Values are HTML."""
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in rows.items())
    return f'<dl class="numbers">{items}</dl>'


def heading(device: str = "") -> str:
    title = "<h1>Residae</h1><p>What a 16× bottleneck keeps of a picture</p>"
    theme = '<button type="button" id="theme" aria-label="Light or dark">◐</button>'
    return f'<header>{title}<p class="device">{html.escape(device)}</p>{theme}</header>'


def note(words: str) -> str:
    return f'<p class="note">{html.escape(words)}</p>'


def sentences(report: Reconstruction) -> str:
    """What the picture costs, and where its error sits."""
    words = [errors(report), *report.notices]
    if report.compressed:
        size = len(report.compressed.data)
        times = report.raw_bytes / size
        than = f", {times:,.0f} times less than its pixels" if times >= 1 else ""
        words.insert(0, f"This picture costs {kilobytes(size)}{than}.")
    return f"<p>{html.escape(' '.join(words))}</p>"


def errors(report: Reconstruction) -> str:
    """Where the error is."""
    pair = report.original, report.decoding.pixels
    return heatmaps.where_error(*pair)


def channel_sentence(bits: Any) -> str:
    return f"<p>{html.escape(heatmaps.where_bits(bits))}</p>"


def channel_numbers(values: Any) -> str:
    statistics = heatmaps.channel_statistics(values)
    words = (
        f"mean {statistics.mean:.4g}, spread {statistics.standard_deviation:.4g}, "
        f"range {statistics.minimum:.4g} to {statistics.maximum:.4g}"
    )
    return words.replace("-", "\N{MINUS SIGN}")


def edited_sentence(report: Reconstruction, before: float) -> str:
    """What the edits have cost."""
    words = "as it was"
    if not math.isclose(report.psnr, before, abs_tol=0.005):
        change = report.psnr - before
        words = f"{decibels(abs(change))} {'more' if change > 0 else 'less'} than unedited"
    return f"<p><b>{decibels(report.psnr)}</b>, {words}. {html.escape(errors(report))}</p>"


def contents(info: FileInfo) -> str:
    """What a file says of itself."""
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


def results(comparison: Comparison) -> str:
    """The table at equal bytes."""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Codec", "Bytes", "PSNR", "SSIM", "MS-SSIM"))
    rows = ""
    for c in comparison.results:
        cells = (f"{c.bytes:,}", decibels(c.psnr), similarity(c.ssim), similarity(c.ms_ssim))
        if c.pixels is None:
            rows += f'<tr><th scope="row">{c.name}</th><td colspan="4">cannot keep it in so few</td></tr>'
        else:
            rows += f'<tr><th scope="row">{c.name}</th>' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    return f'<table class="figures"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def verdict(comparison: Comparison) -> str:
    """Who is ahead in PSNR at these bytes, as it is shown: to two digits."""
    ours, *others = comparison.results
    able = [c for c in others if c.pixels is not None]
    own, shown = round(ours.psnr, 2), {c.name: round(c.psnr, 2) for c in able}
    words = [f"At {ours.bytes:,} bytes this network has {decibels(ours.psnr)}."]
    for which, baselines in (
        ("less", [name for name, psnr in shown.items() if psnr < own]),
        ("as much", [name for name, psnr in shown.items() if psnr == own]),
        ("more", [name for name, psnr in shown.items() if psnr > own]),
    ):
        if baselines:
            words.append(f"{enumerated(baselines)} {'has' if len(baselines) == 1 else 'have'} {which}.")
    unable = [c.name for c in others if c.pixels is None]
    if unable:
        words.append(f"{enumerated(unable)} cannot keep it in so few.")
    return f"<p>{' '.join(words)}</p>"


def enumerated(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def short(name: str) -> str:
    """A file's name as it may be shown and written: printable, without separators, at most 40 characters."""
    clean = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in name)
    return clean if len(clean) <= 40 else f"{clean[:24]}…{clean[-15:]}"
