"""Generated pictures, compared with readers that have nothing to do with ours: ImageMagick, libvips and Chromium.

`python -m pytest -m long -s tests/test_readers_agree.py` opens some 350 files over formats, modes, depths, layouts
and metadata. Each must have the pixels that at least one other reader gives it and, where all others agree, those of
most. What the readers do not agree on is printed, with the counts.
"""

import base64
import io
import itertools
import shutil
import subprocess
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from test_image import chunk, exif, png, saved, swapped_profile, with_chunks
from test_picture_values import MASKS, P3, avif, bmp, cicp, gamma, padded, ramp, tiff

from residae.errors import ImageError
from residae.image import open_picture

MAGICK = shutil.which("magick") or shutil.which("convert")  # of version 7, and of version 6

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not (MAGICK and shutil.which("vips")), reason="needs ImageMagick and libvips"),
]

MEAN, WORST = 1.5, 8  # levels that two readings of one file may be apart; lossy formats and profiles take most of it
Reader = Callable[[Path], np.ndarray | None]

SMOOTH = (ramp()[..., :4] * 255).round().astype(np.uint8)
RGB, RGBA, GRAY = Image.fromarray(SMOOTH[..., :3]), Image.fromarray(SMOOTH), Image.fromarray(SMOOTH[..., 0])
TYPES = {"png": "png", "jpg": "jpeg", "webp": "webp", "gif": "gif", "avif": "avif", "bmp": "bmp"}  # that browsers show


SUFFIXES = {"JPEG": "jpg", "WebP": "webp", "AVIF": "avif", "GIF": "gif"}


def png_files() -> Iterator[tuple[str, bytes]]:
    metadata = {
        "plain": b"",
        "linear": gamma(1),
        "gamma 0.6": gamma(0.6),
        "P3 by chunks": gamma(0.45455) + P3,
        "P3 by code points": cicp(12, 13),
        "BT.709 by code points": cicp(1, 1),
        "profile": chunk(b"iCCP", b"name\0\0" + zlib.compress(swapped_profile())),
    }
    kinds = {0: (1, 2, 4, 8, 16), 2: (8, 16), 4: (8, 16), 6: (8, 16)}
    for (name, extra), color in itertools.product(metadata.items(), kinds):
        for depth in kinds[color]:
            samples = {0: 1, 2: 3, 4: 2, 6: 4}[color]
            values = np.rint(ramp()[..., :samples] * (2**depth - 1)).astype(np.uint16)
            bits = np.unpackbits(values.astype(">u2")[..., None].view(np.uint8), axis=-1).reshape(37, 53, samples, 16)
            rows = np.packbits(bits[..., 16 - depth :].reshape(37, -1), axis=1)
            file = png(53, 37, depth, color, b"".join(b"\0" + row.tobytes() for row in rows))
            yield f"PNG, color type {color}, {depth} bits, {name}", with_chunks(file, extra)


def pillow_files() -> Iterator[tuple[str, bytes]]:
    profiles: dict[str, dict[str, Any]] = {"plain": {}, "profile": {"icc_profile": swapped_profile()}}
    for (name, options), progressive, steps in itertools.product(profiles.items(), (False, True), (0, 1, 2)):
        for image in (RGB, GRAY):
            file = saved(image, "JPEG", quality=92, progressive=progressive, subsampling=steps, **options)
            yield f"JPEG {image.mode}, progressive {progressive}, subsampling {steps}, {name}", file
    for orientation in range(1, 9):
        yield f"JPEG, orientation {orientation}", saved(RGB, "JPEG", quality=95, exif=exif(orientation))
    yield "JPEG, CMYK", saved(RGB.convert("CMYK"), "JPEG", quality=95)
    for (name, options), image in itertools.product(profiles.items(), (RGB, RGBA, GRAY)):
        for how in ({"lossless": True}, {"quality": 90}):
            yield f"WebP {image.mode}, {how}, {name}", saved(image, "WEBP", **how, **options)
        if image is RGBA and options:
            continue  # Chromium takes alpha of AVIF to be of narrow range, and the others do not apply the profile
        for steps in ("4:4:4", "4:2:2", "4:2:0"):
            yield f"AVIF {image.mode}, {steps}, {name}", saved(image, "AVIF", quality=95, subsampling=steps, **options)
    for points in ((1, 13), (1, 8), (9, 13), (12, 13), (5, 13)):
        yield f"AVIF, code points {points}", avif(SMOOTH[..., :3], (*points, 6, 128))
    for colors, interlace in itertools.product((2, 4, 16, 64, 256), (0, 1)):
        yield f"GIF, {colors} colors, interlaced {interlace}", saved(RGB.quantize(colors), "GIF", interlace=interlace)


def bmp_files() -> Iterator[tuple[str, bytes]]:
    for bits, header in itertools.product((1, 4, 8), (12, 40, 108, 124)):
        palette = np.random.default_rng(0).integers(0, 256, (2**bits, 3), dtype=np.uint8)
        indices = np.rint(ramp()[..., 0] * (2**bits - 1)).astype(np.uint8)
        spread = np.unpackbits(indices[..., None], axis=-1)[..., -bits:].reshape(37, -1)
        data = padded([np.packbits(row).tobytes() for row in spread])
        yield f"BMP, {bits} bits, header {header}", bmp(53, 37, bits, data, header=header, palette=palette)
    for (bits, masks), header in itertools.product(MASKS, (56, 108, 124)):
        words = np.zeros((37, 53), np.int64)
        for mask, values in zip(masks, np.moveaxis(ramp(), -1, 0), strict=False):
            shift = (mask & -mask).bit_length() - 1
            words |= np.rint(values * (mask >> shift)).astype(np.int64) << shift
        data = padded([row.astype(f"<u{bits // 8}").tobytes() for row in words])
        name = f"BMP, fields {' '.join(map(hex, masks))}, header {header}"
        yield name, bmp(53, 37, bits, data, header=header, compression=3, masks=masks)


def jpeg_2000_files() -> Iterator[tuple[str, bytes]]:
    for bits, samples, form in itertools.product(range(1, 17), (1, 3), ("jp2", "j2k")):
        values = np.rint(ramp()[..., :samples] * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)
        values = values[..., 0] if samples == 1 else values
        options = {"bitspersample": bits, "codecformat": form, "reversible": True, "level": 0}
        yield f"JPEG 2000, {bits} bits, {samples} samples, {form}", bytes(imagecodecs.jpeg2k_encode(values, **options))


def tiff_files() -> Iterator[tuple[str, bytes]]:
    layouts: dict[str, dict[str, Any]] = {
        "strips": {"rowsperstrip": 7},
        "tiles": {"tile": (16, 32)},
        "planes": {"planarconfig": "separate"},
        "big-endian BigTIFF": {"byteorder": ">", "bigtiff": True},
        "LZW": {"compression": "lzw", "predictor": True},
        "Deflate": {"compression": "deflate", "tile": (16, 16)},
        "PackBits": {"compression": "packbits"},
    }
    kinds = {"minisblack": 1, "miniswhite": 1, "rgb": 3, "separated": 4}
    for (name, layout), (kind, samples), dtype in itertools.product(layouts.items(), kinds.items(), ("u1", "u2", "f4")):
        if dtype == "f4" and kind not in ("minisblack", "rgb"):
            continue
        top = 1 if dtype == "f4" else np.iinfo(dtype).max
        values = (ramp()[..., :samples] * top).astype(dtype)
        if samples == 1:
            values = values[..., 0]
        elif "planarconfig" in layout:
            values = np.ascontiguousarray(np.moveaxis(values, -1, 0))
        yield f"TIFF {kind}, {dtype}, {name}", tiff(values, kind, **layout)
    for compression in ("group3", "group4", "tiff_ccitt", "jpeg"):
        image = RGB if compression == "jpeg" else GRAY.convert("1")
        yield f"TIFF, {compression}", saved(image, "TIFF", compression=compression)
    for orientation in range(1, 9):
        yield f"TIFF, orientation {orientation}", saved(RGB, "TIFF", tiffinfo={274: orientation})


def _on_white(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):
        return np.repeat(np.rint(np.asarray(image) / 257).astype(np.uint8)[..., None], 3, -1)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGB", image.size, "white")
        image.paste(rgba, mask=rgba.getchannel("A"))
    return np.asarray(image.convert("RGB"))


def imagemagick(path: Path) -> np.ndarray | None:
    flags = ["-auto-orient", "-background", "white", "-alpha", "remove", "-alpha", "off", "-colorspace", "sRGB"]
    command = [str(MAGICK), f"{path}[0]", *flags, "-depth", "8", "-strip", "PNG24:-"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    return _on_white(Image.open(io.BytesIO(done.stdout))) if done.returncode == 0 and done.stdout else None


def libvips(path: Path) -> np.ndarray | None:
    upright, out = path.with_suffix(".v"), path.with_name("vips.png")
    out.unlink(missing_ok=True)
    for step in (["autorot", path, upright], ["colourspace", upright, f"{out}[strip]", "srgb"]):
        done = subprocess.run(["vips", *map(str, step)], capture_output=True, check=False, timeout=60)
        if done.returncode:
            return None
    return _on_white(Image.open(out)) if out.exists() else None


SHOW = """async ([data, type]) => {
    const image = new Image();
    image.src = `data:image/${type};base64,${data}`;
    try { await image.decode(); } catch { return null; }
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d", {colorSpace: "srgb"});
    context.fillStyle = "white";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0);
    return [canvas.width, canvas.height, [...context.getImageData(0, 0, canvas.width, canvas.height).data]];
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Reader | None]:
    api = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if not path:
        yield None
        return
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--force-color-profile=srgb"]
        )
        page = browser.new_page()

        def read(path: Path) -> np.ndarray | None:
            if path.suffix[1:] not in TYPES:
                return None
            found = page.evaluate(SHOW, [base64.b64encode(path.read_bytes()).decode(), TYPES[path.suffix[1:]]])
            if found is None:
                return None
            width, height, values = found
            return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]

        yield read
        browser.close()


def agree(a: np.ndarray, b: np.ndarray) -> bool:
    if a.shape != b.shape:
        return False
    apart = np.abs(a.astype(int) - b)
    return bool(apart.mean() <= MEAN and apart.max() <= WORST)


FORMATS = {
    "png": png_files,
    "bmp": bmp_files,
    "tif": tiff_files,
    "jp2": jpeg_2000_files,
    "others": pillow_files,
}


@pytest.mark.parametrize("suffix", FORMATS)
def test_readers_agree(suffix: str, tmp_path: Path, chromium: Reader | None) -> None:
    readers: dict[str, Reader] = {"ImageMagick": imagemagick, "libvips": libvips}
    if chromium:
        readers["Chromium"] = chromium
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    for name, data in FORMATS[suffix]():
        kind = SUFFIXES[name.split()[0].rstrip(",")] if suffix == "others" else suffix
        path = tmp_path / f"picture.{kind}"
        path.write_bytes(data)
        others = {reader: pixels for reader, read in readers.items() if (pixels := read(path)) is not None}
        counts["files"] += 1
        try:
            pixels = open_picture(data).pixels
        except ImageError as error:
            wrong += [f"{name}: {error}"] * (len(others) > 1)
            continue
        ours = np.repeat(pixels[..., None], 3, -1) if pixels.ndim == 2 else pixels
        apart = {reader: not agree(ours, theirs) for reader, theirs in others.items()}
        counts.update({f"as {reader}": not differs for reader, differs in apart.items()})
        if any(apart.values()):
            print(f"{name}: unlike {', '.join(reader for reader, differs in apart.items() if differs)}")
        united = all(agree(a, b) for a, b in itertools.combinations(others.values(), 2))
        if others and sum(apart.values()) > (len(apart) / 2 if united else len(apart) - 1):
            wrong.append(f"{name}: unlike {', '.join(apart)}")
    print(dict(counts))
    assert wrong == []
