"""Figures as words: HTML that can be selected and copied."""

import html
import math
from typing import Any

from residae import views
from residae.codec import Info
from residae.session import Report
from residae.ui.desk import laboratory


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
