"""Figures as HTML text that can be selected and copied, and sentences about them.

Functions return HTML, in which they escape the names and messages that they are given. Plain text, which the caller
escapes, is returned by `error_sentence`, `channel_figures`, `share_kept`, `short_name`, and those for numbers.
"""

import html
import math
from collections.abc import Sequence
from typing import Any

from residae import heatmaps
from residae.baselines import CODECS
from residae.codec import FileInfo
from residae.compare import OURS, Comparison
from residae.geometry import STRIDE
from residae.metrics import bits_per_pixel
from residae.pipeline import Encoding, Reconstruction

MAX_NAME = 40  # characters of a file name
MINUS = "\N{MINUS SIGN}"
NBSP = "\N{NO-BREAK SPACE}"
COMPARED = ("Bytes", "PSNR", "SSIM", "MS-SSIM", "SSIMULACRA2")  # of each codec
AS_MANY = "just as many"


def heading(checkpoint: str = "", device: str = "", ratio: float | None = None) -> str:
    """The heading of the page, with the name of the checkpoint and the device that it runs on.

    Args:
        checkpoint: Name of the checkpoint; neither is shown if it is empty.
        device: As `Engine.description` has it.
        ratio: How many pixels there are for each number of the latent; None to name no ratio.

    Returns:
        HTML.
    """
    bottleneck = "bottleneck"
    if ratio:
        bottleneck = explained(
            f"{ratio:.0f}× bottleneck", f"{one_number(ratio)} How many bytes these take is another matter."
        )
    title = f"<h1>Residae</h1><p>What a {bottleneck} keeps of a picture</p>"
    model = f'<button type="button" id="open-model" title="Open The model">{html.escape(checkpoint)}</button>'
    names = f"{model}<span>{html.escape(device)}</span>" if checkpoint else ""
    tour = '<button type="button" id="tour" title="What the page shows, in five steps">Tour</button>'
    theme = '<button type="button" id="theme" aria-label="Light or dark" title="Light or dark">◐</button>'
    return f'<header>{title}<p class="device">{names}</p>{tour}{theme}</header>'


def alert(message: object) -> str:
    """An error, as a sentence that screen readers announce."""
    return f'<p class="alert" role="alert">{html.escape(str(message))}</p>'


def dismissible(message: object) -> str:
    """The same with a button, by which the component that shows it becomes empty."""
    button = '<button type="button" aria-label="Dismiss" title="Dismiss">×</button>'
    return f'<div class="alert"><p role="alert">{html.escape(str(message))}</p>{button}</div>'


def note(message: str) -> str:
    """An explanation in small print."""
    return f'<p class="note">{html.escape(message)}</p>'


def by_pointer(with_mouse: str, with_finger: str) -> str:
    """Words for a mouse or a pen, and others for a finger, of which the page shows those for the pointer in use.

    Args:
        with_mouse: HTML.
        with_finger: HTML.
    """
    return f'<span class="by-mouse">{with_mouse}</span><span class="by-finger">{with_finger}</span>'


def explained(term: str, explanation: str) -> str:
    """A term with an explanation, which `explain.js` shows while the term has the focus or the pointer.

    Args:
        term: HTML.
        explanation: Text.
    """
    return f'<span tabindex="0" data-explanation="{html.escape(explanation)}">{term}</span>'


def definition_list(rows: dict[str, str]) -> str:
    """Figures by name. Names and values are HTML."""
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in rows.items())
    return f'<dl class="numbers">{items}</dl>'


# Reports


def journey(report: Reconstruction) -> str:
    """What is left of the picture after each step: three counts, and a bar for each, all in one scale."""
    samples, numbers = report.raw_bytes, sum(latent.size for latent in report.encoding.latents)
    term = f"{kept_times(network_ratio(report.encoding), report.encoding.scale)}× fewer"
    if len(report.encoding.latents) == 3:
        term += f', {fewer(samples / numbers).removesuffix(" fewer")} with<span class="wide"> halved</span> chroma'
    comparison = explained(term, numbers_explanation(report.encoding, samples / numbers))
    rows = [
        (f"{samples:,}", "samples of the picture", 1.0),
        (f"{numbers:,}", f'numbers<span class="wide"> after the encoder</span>, {comparison}', numbers / samples),
    ]
    if report.compressed:
        size = len(report.compressed.data)
        comparison = fewer(samples / size)
        than = "as" if comparison == AS_MANY else "than"
        coding = f"Rounding and entropy coding leave {8 * size / numbers:.2g} bits for each number; a sample has 8."
        label = f'bytes in the file, {explained(comparison, coding)}<span class="wide"> {than} the pixels take</span>'
        rows.append((f"{size:,}", label, size / samples))
    else:
        rows.append(("–", "no file: the latent is not quantized", 0.0))
    items = "".join(
        f"<li><b>{count}</b><span>{label}</span>" + (f'<i style="--share: {share:.6f}"></i>' if share else "") + "</li>"
        for count, label, share in rows
    )
    return f'<ol class="journey">{items}</ol>'


def numbers_explanation(encoding: Encoding, times: float) -> str:
    """Why the latent has so many numbers, whatever the network's own ratio is.

    Args:
        encoding: Of the picture.
        times: How many times fewer numbers it has than the picture has samples.

    Returns:
        Text with the factors of `times`.
    """
    ratio, scale = network_ratio(encoding), encoding.scale
    product, factors, steps = ratio, f"{ratio:.3g}", []
    if len(encoding.latents) == 3:
        product *= 2
        factors += " × 2"
        steps.append("chroma is halved in width and height")
    if scale != 1:
        product /= scale**2
        factors += f" ÷ {scale:g}²"
        steps.append(f"the picture is {'enlarged' if scale > 1 else 'reduced'} by {scale:g}")
    text = one_number(ratio)
    if steps:
        text += f" Before it, {', and '.join(steps)}: {factors} = {product:.3g}."
    if fewer(product) != fewer(times):
        text += f" Sides are filled up to multiples of {STRIDE} pixels, which leaves {times:.3g}."
    return text


def network_ratio(encoding: Encoding) -> float:
    """How many samples of a plane there are for each number of its latent, at scale 1."""
    return STRIDE**2 / len(encoding.latents[0])


def share_kept(ratio: float, scale: float) -> str:
    """The share of numbers that is kept at a scale, as the control has it, such as `1/16` or `1/1.8`.

    Args:
        ratio: As `network_ratio` returns it.
        scale: By which the picture is enlarged before the encoder.
    """
    return f"1/{kept_times(ratio, scale)}"


def kept_times(ratio: float, scale: float) -> str:
    """How many samples of a plane there are for each number, as `share_kept` rounds it.

    Args:
        ratio: As in `share_kept`.
        scale: As in `share_kept`.
    """
    times = ratio / scale**2
    return f"{times:.0f}" if times > 5 else f"{times:.2g}"


def one_number(ratio: float) -> str:
    """What the network does to the number of samples, as a sentence."""
    return f"The network makes one number for every {ratio:.3g} samples that it gets."


def report_figures(report: Reconstruction, refining: float = 0.0, with_ssim: bool = True) -> str:
    """How far the reconstruction is off, what the file costs, and how long it took.

    Args:
        report: The reconstruction that is shown.
        refining: Seconds that the refinement of its file took.
        with_ssim: Whether to measure the SSIM, which takes a while; if not, "…" stands in its place.

    Returns:
        HTML.
    """
    encoding, compressed = report.encoding, report.compressed
    rows = {"PSNR": decibels(report.psnr), "SSIM": similarity(report.ssim) if with_ssim else "…"}
    if compressed:
        size = len(compressed.data)
        rows |= {
            "Rate": f"{bits_per_pixel(size, encoding.width, encoding.height):.3f} bpp",
            "Raw pixels": ratio(report.raw_bytes, size),
        }
        if report.file_bytes:
            rows["Source file"] = ratio(report.file_bytes, size)
    rows |= {
        "Picture": f'{encoding.width:,} × {encoding.height:,}<span class="wide"> px</span>',
        "Encode · decode": f"{encoding.seconds + refining:.1f} s · {report.decoding.seconds:.1f} s",
    }
    return definition_list(rows)


def report_sentences(
    report: Reconstruction, max_bytes: int | None = None, chooses_scale: bool = False, is_full_size: bool = False
) -> str:
    """Where the error is, how a limit on the size of the file was used, and the notices about the picture.

    Args:
        report: The reconstruction that is shown.
        max_bytes: The limit that its file was made for; None if there was none.
        chooses_scale: Whether the share of numbers was chosen by that limit.
        is_full_size: Whether to say that the picture is at its full size at the smaller working size as well.

    Returns:
        HTML.
    """
    sentences = [error_sentence(report), *report.notices]
    if is_full_size:
        sentences.append("The picture is at its full size in either case.")
    if report.compressed and max_bytes is not None:
        quality, kept = report.compressed.quality, share_kept(network_ratio(report.encoding), report.encoding.scale)
        if quality == 100 and len(report.compressed.data) < 0.9 * max_bytes:
            limit = f"Quality 100 with {kept} of the numbers takes only {kilobytes(len(report.compressed.data))}."
        elif chooses_scale:
            limit = f"Of files up to {kilobytes(max_bytes)}, one with {kept} of the numbers, "
            limit += f"at quality {round(quality, 1):g}, should have the least error."
        else:
            limit = f"With {kept} of the numbers, quality {round(quality, 1):g} is the highest "
            limit += f"in at most {kilobytes(max_bytes)}."
        sentences.insert(1, limit)
    text = html.escape(" ".join(sentences)).replace(" × ", f"{NBSP}×{NBSP}")  # so that a size stays in one line
    return f"<p>{text}</p>"


def error_sentence(report: Reconstruction) -> str:
    """Where the error is."""
    return heatmaps.where_error(report.original, report.decoding.pixels)


def edited_sentence(report: Reconstruction, unedited: float) -> str:
    """What the edits cost.

    Args:
        report: The reconstruction from the edited latent.
        unedited: The PSNR without the edits, in dB.

    Returns:
        HTML with the PSNR, the change, and where the error is.
    """
    change = report.psnr - unedited
    comparison = "the same as unedited"
    if not math.isclose(report.psnr, unedited, abs_tol=0.005):
        comparison = f"{decibels(abs(change))} {'more' if change > 0 else 'less'} than unedited"
    return f"<p><b>{decibels(report.psnr)}</b>, {comparison}. {html.escape(error_sentence(report))}</p>"


def refinement_sentence(steps: int, gain: float, change: float) -> str:
    """What a refinement gained, and for how many bytes.

    Args:
        steps: That were done.
        gain: Of PSNR, in dB.
        change: Of the file's size, as a share of what it was.

    Returns:
        HTML.
    """
    sign = "+" if gain >= 0 else MINUS
    share = f"{abs(change):,.0%}" if abs(change) >= 1 else f"{abs(change):.1%}"
    size = "the same size" if abs(change) < 0.0005 else f"{share} {'more' if change > 0 else 'fewer'} bytes"
    sentence = f"<p>{sign}{abs(gain):.2f} dB at {size}, after {counted(steps, 'step').replace(' ', NBSP)}. "
    sentence += "Changing a setting discards it.</p>"
    return sentence.replace("%", f"{NBSP}%")


# Channels


def channel_sentence(bits: Any) -> str:
    """Which channels take most of the bits, of which there are (C,)."""
    return f"<p>{html.escape(heatmaps.where_bits(bits))}</p>"


def channel_figures(values: Any, quality: float | None) -> str:
    """Statistics of the (h, w) values of a channel, which are numbers without a unit.

    Args:
        values: As the decoder gets them.
        quality: At which they were quantized; None if they were not.
    """
    statistics, kind = heatmaps.channel_statistics(values), "Unquantized" if quality is None else "Quantized"
    figures = (
        f"{kind} values, without a unit: mean {statistics.mean:,.4g}, "
        f"standard deviation {statistics.standard_deviation:,.4g}, "
        f"range{NBSP}{statistics.minimum:,.4g}{NBSP}to{NBSP}{statistics.maximum:,.4g}"
    )
    return figures.replace("-", MINUS)


# Files


def file_figures(info: FileInfo, ratio: float) -> str:
    """What the header of a `.rae` file says.

    Args:
        info: The header.
        ratio: As `network_ratio` returns it, of the checkpoint that wrote the file.
    """
    return definition_list(
        {
            "Picture": f"{info.width:,} × {info.height:,} px, {'color' if info.color else 'gray'}",
            "File": kilobytes(info.file_bytes),
            "Rate": f"{info.bits_per_pixel:.3f} bpp",
            "Quality": f"{info.quality:g}",
            "Numbers kept": share_kept(ratio, info.scale),
            "Planes, bytes": " + ".join(f"{size:,}" for size in info.plane_bytes),
            "Checkpoint": html.escape(info.name),
            "Fingerprint": info.fingerprint,
        }
    )


def short_name(name: str) -> str:
    """A file's name that can be shown and written: printable, without separators, at most MAX_NAME characters."""
    clean = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in name)
    return clean if len(clean) <= MAX_NAME else f"{clean[: MAX_NAME - 16]}…{clean[-15:]}"


# Comparisons


def comparison_table(comparison: Comparison, measuring: bool = False) -> str:
    """Bytes, PSNR, SSIM, MS-SSIM and SSIMULACRA 2 of each codec.

    Args:
        comparison: The results.
        measuring: Whether SSIMULACRA 2 is still being measured.

    Returns:
        HTML.
    """
    rows = ""
    for result in comparison.results:
        if result.pixels is None:
            cells = f'<td colspan="{len(COMPARED)}">cannot make a file this small</td>'
        else:
            perceptual = f"{result.ssimulacra2:.1f}".replace("-", "−")
            if math.isnan(result.ssimulacra2):
                perceptual = "…" if measuring else "–"
            figures = (decibels(result.psnr), similarity(result.ssim), similarity(result.ms_ssim), perceptual)
            cells = "".join(f"<td>{figure}</td>" for figure in (f"{result.bytes:,}", *figures))
        rows += _codec_row(result.name, result.effort, cells)
    return _codec_table(rows)


def comparison_begun(size: int | None, psnr: float) -> str:
    """The table of `comparison_table` before anything is compared.

    Args:
        size: Of our file, in bytes; None without a file.
        psnr: Of ours, in dB.

    Returns:
        HTML.
    """
    cells = ("–" if size is None else f"{size:,}", decibels(psnr), *["–"] * (len(COMPARED) - 2))
    ours = "".join(f"<td>{cell}</td>" for cell in cells)
    rows = _codec_row(OURS, "", ours)
    for name, codec in CODECS.items():
        rows += _codec_row(name, codec.description, "<td>–</td>" * len(COMPARED))
    return _codec_table(rows)


def _codec_row(name: str, effort: str, cells: str) -> str:
    return f'<tr><th scope="row">{name}{f" <small>{effort}</small>" if effort else ""}</th>{cells}</tr>'


def _codec_table(rows: str) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Codec", *COMPARED))
    return f'<table class="figures"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def verdict(comparison: Comparison) -> str:
    """Which codecs have a lower, the same or a higher PSNR than ours, as rounded in the table."""
    ours, *others = comparison.results
    own, shown = round(ours.psnr, 2), {c.name: round(c.psnr, 2) for c in others if c.pixels is not None}
    sentences = [f"At {ours.bytes:,} bytes, this network reaches {decibels(ours.psnr)}."]
    for comparative, names in (
        ("lower", [name for name, psnr in shown.items() if psnr < own]),
        ("the same", [name for name, psnr in shown.items() if psnr == own]),
        ("higher", [name for name, psnr in shown.items() if psnr > own]),
    ):
        if names:
            sentences.append(f"{join_names(names)} {'scores' if len(names) == 1 else 'score'} {comparative}.")
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


def duration(seconds: float) -> str:
    """Such as `0.4 s`, `12 s`, `3 minutes` or `5 hours`."""
    if seconds < 3:
        return f"{max(seconds, 0.1):.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.0f} hours"


def megapixels(pixels: float) -> str:
    """Such as `256 megapixels` or `0.4 megapixels`."""
    return f"{round(pixels / 1e6, 1):g} megapixels"


def counted(number: int, noun: str) -> str:
    """A number of things in words, such as `1 step` or `12 steps`.

    Args:
        number: How many there are.
        noun: What they are, in the singular.
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def kilobytes(size: int) -> str:
    """Such as `987 bytes`, or `12.3 kB`, which are 12,300 bytes."""
    return f"{size / 1000:,.1f} kB" if size >= 1000 else f"{size} bytes"


def ratio(size: int, file_size: int) -> str:
    """Such as `12.5 : 1`, the ratio of two sizes.

    Args:
        size: Bytes of the raw pixels, or of the picture's own file.
        file_size: Bytes of the compressed file, above 0.
    """
    return f"{size / file_size:.3g} : 1" if size < 100 * file_size else f"{size / file_size:,.0f} : 1"


def fewer(times: float) -> str:
    """How many times fewer, with a decimal where it matters; how many times more below 1, and AS_MANY near 1."""
    if math.isclose(times, 1, abs_tol=0.05):
        return AS_MANY
    comparative, times = ("fewer", times) if times >= 1 else ("more", 1 / times)
    return f"{times:,.0f}× {comparative}" if times >= 10 else f"{times:.2g}× {comparative}"
