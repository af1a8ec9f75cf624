"""Results of an evaluation: one row for each picture, setting and codec, as a TSV, a table and JSON."""

import csv
import io
import json
import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from residae.baselines import CODECS
from residae.compare import OURS, RatePoint, bd_rate
from residae.errors import ResidaeError
from residae.files import check_target, is_standard_output, write_file
from residae.metrics import bits_per_pixel
from residae.weights import find_folder

PUBLISHED = "results.tsv"  # beside the weights of a checkpoint


@dataclass(frozen=True)
class Measurement:
    """One picture at one setting by one codec. What was not measured is NaN, or None for whole numbers.

    Attributes:
        picture: Name of the picture's file, as `residae.evaluate.picture_files` gives it.
        sha256: Of the picture's file, in hexadecimal.
        width: In pixels.
        height: In pixels.
        setting: What was asked of our codec, such as `0.1 bpp`.
        codec: Name of the codec.
        options: All else that the result depends on, such as the checkpoint or the effort of an encoder.
        max_bytes: The byte budget, if there was one: of a baseline, the bytes of our file.
        quality: Of our file, 0 to 100; of a baseline, what it was asked for.
        scale: At which our codec encoded the picture.
        bytes: Size of the file; None without one, which is so of the unquantized latent, and of a codec that cannot
            stay within the budget.
        ideal_bytes: The code length of our symbols under the context model, without the container.
        static_bytes: Their order-0 entropy: the best that a codec without contexts could do, were its tables free.
        psnr: In dB.
        ssim: As `residae.metrics.ssim`.
        ms_ssim: As `residae.metrics.ms_ssim`.
        ssimulacra2: As `residae.metrics.ssimulacra2`.
        encode_seconds: From pixels to the file, with our rate control and refinement, but only the last encoding of a
            baseline.
        decode_seconds: From the file to pixels.
        coding_seconds: What quantizing and entropy encoding take once, at the quality of the file; a search for quality
            and scale repeats them, all of which is in `encode_seconds`.
        parsing_seconds: The part of `decode_seconds` that entropy decoding takes.
    """

    picture: str
    sha256: str
    width: int
    height: int
    setting: str
    codec: str
    options: str = ""
    max_bytes: int | None = None
    quality: float = math.nan
    scale: float = math.nan
    bytes: int | None = None
    ideal_bytes: float = math.nan
    static_bytes: float = math.nan
    psnr: float = math.nan
    ssim: float = math.nan
    ms_ssim: float = math.nan
    ssimulacra2: float = math.nan
    encode_seconds: float = math.nan
    decode_seconds: float = math.nan
    coding_seconds: float = math.nan
    parsing_seconds: float = math.nan

    @property
    def bits_per_pixel(self) -> float:
        """Of the whole file; NaN without one."""
        return math.nan if self.bytes is None else bits_per_pixel(self.bytes, self.width, self.height)

    @property
    def key(self) -> tuple[object, ...]:
        """What was measured. Two measurements of one key differ only in their seconds, and by SSIMULACRA 2 or none."""
        return self.sha256, self.setting, self.codec, self.options, self.max_bytes

    @property
    def lacks_ssimulacra2(self) -> bool:
        """Whether there is a picture without its SSIMULACRA 2."""
        return math.isnan(self.ssimulacra2) and not math.isnan(self.psnr)


@dataclass(frozen=True)
class MeanCurves:
    """Means over some pictures.

    Attributes:
        curves: The points by rising rate, by name of the curve: ours first, those of other settings of ours last. A
            codec that was measured on fewer pictures has none.
        pictures: Names of their files without suffixes, sorted; each picture has all of the points.
        is_kodak: Whether they are of the Kodak set.
    """

    curves: dict[str, list[RatePoint]]
    pictures: tuple[str, ...]
    is_kodak: bool = False

    @property
    def title(self) -> str:
        """What the means are over, such as `Kodak, luma, mean of 24 pictures`, with the names of up to six pictures."""
        some = f"{len(self.pictures)} picture{'s' if len(self.pictures) > 1 else ''}"
        names = f": {', '.join(self.pictures)}" if len(self.pictures) <= 6 else ""
        return f"{'Kodak, luma' if self.is_kodak else 'Luma'}, mean of {some}{names}"

    @property
    def settings(self) -> list[str]:
        """Those of our curves but the first, such as `20 steps`."""
        return [
            name.removeprefix(f"{OURS}, ")
            for name, curve in self.curves.items()
            if name.startswith(f"{OURS},") and curve
        ]


Row = tuple[Measurement, ...]  # one picture at one setting: ours, then each baseline
FIELDS = {field.name: field.type for field in fields(Measurement)}
COLUMNS = (*FIELDS, "bits_per_pixel")  # of the TSV


class ResultsFile:
    """A TSV to which measurements are appended as they are made, so that an evaluation can be resumed."""

    def __init__(self, path: Path, resume: bool, force: bool) -> None:
        """Read or create the file.

        Args:
            path: The TSV.
            resume: Whether to keep the measurements that it holds.
            force: Whether to replace it.

        Raises:
            ResidaeError: It exists and neither is set, it is another kind of file, or it cannot be read or written.
        """
        if is_standard_output(path):
            raise ResidaeError("The table is appended to a file that --resume can read: give the name of one.")
        self.path = path
        kept = _read_measurements(path) if resume and path.exists() else []
        if not resume:
            check_target(path, force)
        write_file(path, _as_tsv(kept, header=True))  # without the line that an interrupted run left incomplete
        self._measurements = {measurement.key: measurement for measurement in kept}

    def find(self, wanted: Measurement, ssimulacra2: bool = False) -> Measurement | None:
        """The measurement of the same key, if the file has it.

        Args:
            wanted: Only its `key` and the name of its picture count.
            ssimulacra2: Whether it must not lack SSIMULACRA 2.

        Returns:
            The measurement, under that name; None if the file does not have it.
        """
        found = self._measurements.get(wanted.key)
        if found is None or (ssimulacra2 and found.lacks_ssimulacra2):
            return None
        return replace(found, picture=wanted.picture)  # which may have been renamed

    def append(self, measurements: Iterable[Measurement]) -> None:
        """Write those that the file does not have.

        Args:
            measurements: Those whose `key` the file has already are skipped, unless they add SSIMULACRA 2.

        Raises:
            ResidaeError: The file cannot be written.
        """
        new = {m.key: m for m in measurements if not self.find(m, ssimulacra2=not m.lacks_ssimulacra2)}
        if not new:
            return
        self._measurements |= new
        try:
            with self.path.open("ab") as file:
                file.write(_as_tsv(new.values()))
        except OSError as error:
            raise ResidaeError(f"{self.path} cannot be written: {error.strerror}.") from error


def _as_tsv(measurements: Iterable[Measurement], header: bool = False) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, "excel-tab", lineterminator="\n")
    if header:
        writer.writerow(COLUMNS)
    for measurement in measurements:
        values = (getattr(measurement, name) for name in COLUMNS)
        writer.writerow(["" if value is None or value != value else value for value in values])
    return buffer.getvalue().encode(errors="surrogateescape")


def _read_measurements(path: Path) -> list[Measurement]:
    try:
        text = path.read_bytes().decode(errors="surrogateescape")
        complete = text[: text.rfind("\n") + 1]
        header, *lines = csv.reader(io.StringIO(complete), "excel-tab") if complete else [list(COLUMNS)]
        if header != list(COLUMNS):
            raise ValueError("other columns")
        measurements = (
            Measurement(*(_parse(value, FIELDS[name]) for name, value in zip(FIELDS, line, strict=False)))
            for line in lines
        )
        return [*{measurement.key: measurement for measurement in measurements}.values()]  # the last of a key counts
    except OSError as error:
        raise ResidaeError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise ResidaeError(f"{path} is not a TSV of this command, or of another version: give another name.") from error


def _parse(value: str, kind: object) -> Any:
    if kind is str:
        return value
    if kind is float:
        return float(value) if value else math.nan
    return int(value) if value else None


def figures(row: Row) -> dict[str, float]:
    """What the printed table shows of a row, by column, without what was not measured.

    Args:
        row: Ours first.

    Returns:
        Sizes in bytes, rates in bits per pixel, PSNR in dB; encoding and decoding in seconds, entropy encoding and
        decoding in milliseconds.
    """
    ours, *baselines = row
    columns: dict[str, float | None] = {
        "bytes": ours.bytes,
        "bpp": ours.bits_per_pixel,
        "PSNR": ours.psnr,
        "SSIM": ours.ssim,
        "MS-SSIM": ours.ms_ssim,
        "SSIMULACRA2": ours.ssimulacra2,
        **{baseline.codec: baseline.psnr for baseline in baselines},
        "encode": ours.encode_seconds,
        "decode": ours.decode_seconds,
        "entropy enc": 1000 * ours.coding_seconds,
        "entropy dec": 1000 * ours.parsing_seconds,
    }
    return {name: value for name, value in columns.items() if value is not None and not math.isnan(value)}


def mean_figures(rows: Sequence[Row]) -> dict[str, float]:
    """Means of the columns that every row has: a mean over fewer pictures could not be compared with the others.

    Args:
        rows: Of any number of pictures, at one setting.

    Returns:
        In the units of `figures`; empty if there are no rows.
    """
    shown = [figures(row) for row in rows]
    common = set[str]().union(*shown).intersection(*shown)
    return {name: fmean(figure[name] for figure in shown) for name in common}


def mean_curves(path: Path) -> list[MeanCurves]:
    """The mean rate and PSNR of each codec over the pictures of a TSV, by their luma.

    A curve of ours holds the settings that differ in their rate alone; its name says the rest of them, such as
    `Residae, 40 steps`. Settings of ours that were measured on fewer pictures make another chart, over these alone.

    Args:
        path: Written by a `ResultsFile`.

    Returns:
        The charts, that of the most pictures first, else in the order of the file. In each, codecs have the order, and
        with it the colors, that they have elsewhere.

    Raises:
        ResidaeError: The file cannot be read, or is none of a `ResultsFile`.
    """
    groups: dict[tuple[str, str], dict[str, Measurement]] = {}  # (curve, rate) -> picture
    for measurement in _read_measurements(path):
        if measurement.bytes and math.isfinite(measurement.psnr) and not measurement.options.startswith("color"):
            rate, _, rest = measurement.setting.partition(", ")
            curve = f"{OURS}, {rest}" if rest and measurement.codec == OURS else measurement.codec
            groups.setdefault((curve, rate), {}).setdefault(measurement.sha256, measurement)
    known = [OURS, *CODECS]
    seen = dict.fromkeys(curve for curve, _ in groups)
    names = [name for name in known if name in seen] + [name for name in seen if name not in known]
    by_picture = {sha256: one for measured in groups.values() for sha256, one in measured.items()}
    ours = (measured for (curve, _), measured in groups.items() if curve.startswith(OURS))
    charts = []
    for pictures in dict.fromkeys(map(frozenset, ours)):  # unlike a set, in the order of the file
        curves: dict[str, list[RatePoint]] = {name: [] for name in names}
        for (curve, _), measured in groups.items():
            if pictures <= measured.keys():
                means = (fmean(getattr(measured[p], name) for p in pictures) for name in ("bits_per_pixel", "psnr"))
                curves[curve].append(RatePoint(*means))
        by_rate = operator.attrgetter("bits_per_pixel")
        curves = {name: sorted(curve, key=by_rate) for name, curve in curves.items() if curve or name in known}
        some = [by_picture[p] for p in pictures]
        pictured = tuple(sorted(Path(measurement.picture).stem for measurement in some))
        charts.append(MeanCurves(curves, pictured, all(map(_is_of_kodak, some))))
    return sorted(charts, key=lambda chart: -len(chart.pictures))


def _is_of_kodak(measurement: Measurement) -> bool:
    """Whether the picture has a name and a size of the 24 that everybody measures by."""
    name = re.fullmatch(r"(?:kodim)?(0[1-9]|1\d|2[0-4])", Path(measurement.picture).stem)
    return bool(name) and sorted((measurement.width, measurement.height)) == [512, 768]


def published_curves(source: str | Path) -> list[MeanCurves]:
    """The `mean_curves` of the TSV beside the weights of a checkpoint; none without one.

    Args:
        source: A folder, or a model on the Hub, as in `Checkpoint.open`.

    Raises:
        ResidaeError: As `mean_curves`, or there is no such checkpoint.
    """
    path = find_folder(source) / PUBLISHED
    return mean_curves(path) if path.is_file() else []


def overhead(rows: Sequence[Row]) -> list[str]:
    """Sentences on what the container costs and what the context model saves, over the files of all rows.

    Args:
        rows: At one setting; a row without a file of ours does not count.

    Returns:
        One or two sentences; none if there is no file.
    """
    files = [ours for ours, *_ in rows if ours.bytes]
    if not files:
        return []
    total, ideal = sum(file.bytes or 0 for file in files), sum(file.ideal_bytes for file in files)
    excess = max(0.0, *((file.bytes or 0) - 1.01 * file.ideal_bytes for file in files))
    lines = [
        f"{total:,} bytes; the code length of the symbols is {ideal:,.0f}, and each file is within 1 % + {excess:.0f} "
        "bytes of its own"
    ]
    static = sum(file.static_bytes for file in files)
    if static:  # 0 where each channel holds one symbol throughout
        saved = 100 * (1 - ideal / static)
        lines.append(f"contexts save {saved:.1f} % of the order-0 entropy of each channel of each file: {static:,.0f}")
    return lines


def bd_rates(rows: Sequence[Row]) -> dict[str, tuple[float, int]]:
    """The BD-rate of each baseline against our codec.

    Args:
        rows: Of several pictures, each at several settings.

    Returns:
        By name of the baseline: the mean over pictures of `residae.compare.bd_rate` in percent, and the number of
        pictures for which it is defined.
    """
    curves: dict[str, dict[str, list[RatePoint]]] = {}  # codec -> picture -> points
    for row in rows:
        for measurement in row:
            pictures = curves.setdefault(measurement.codec, {})
            if measurement.bytes:
                points = pictures.setdefault(measurement.picture, [])
                points.append(RatePoint(measurement.bits_per_pixel, measurement.psnr))
    ours = curves.pop(OURS, {})
    rates = {}
    for codec, pictures in curves.items():
        percents = [bd_rate(ours[picture], points) for picture, points in pictures.items()]
        defined = [percent for percent in percents if not math.isnan(percent)]
        if defined:
            rates[codec] = fmean(defined), len(defined)
    return rates


def as_json(rows: Sequence[Row]) -> bytes:
    """The results in the form of CompressAI, with those of the baselines and of each picture.

    The object has `name`, `description` and `results` of our codec: lists of means by rising rate over its `inputs`,
    the pictures that have a result at every setting, with their SHA-256. `baselines` holds an object of the same form
    for each baseline, with its `bd-rate` against ours in percent. `pictures` holds every row.

    Args:
        rows: Of several pictures, each at several settings; at least one, all with the same codecs.

    Returns:
        The JSON text in ASCII.
    """
    document, *baselines = (_curve([row[index] for row in rows]) for index in range(len(rows[0])))
    rates = bd_rates(rows)
    for curve in baselines:
        curve |= {"bd-rate": rates[curve["name"]][0]} if curve["name"] in rates else {}
    document["baselines"] = baselines
    document["pictures"] = [_picture(row) for row in rows]
    return json.dumps(document, allow_nan=False).encode()


def _curve(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """The mean curve of one codec."""
    pictures: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        pictures.setdefault(measurement.picture, []).append(measurement)
    complete = [some for some in pictures.values() if not any(math.isnan(m.psnr) for m in some)]
    settings = sorted(zip(*complete, strict=True), key=lambda some: fmean(m.bits_per_pixel for m in some))
    names = {
        "bpp": "bits_per_pixel",
        "psnr": "psnr",
        "ssim": "ssim",
        "ms-ssim": "ms_ssim",
        "ssimulacra2": "ssimulacra2",
        "encoding_time": "encode_seconds",
        "decoding_time": "decode_seconds",
    }
    means = {name: [fmean(getattr(m, field) for m in some) for some in settings] for name, field in names.items()}
    results = {name: [_finite(value) for value in values] for name, values in means.items() if not _all_nan(values)}
    first = measurements[0]
    inputs = {some[0].picture: some[0].sha256 for some in complete}
    return {"name": first.codec, "description": first.options, "results": results, "inputs": inputs}


def _picture(row: Row) -> dict[str, object]:
    ours, *baselines = row
    entry: dict[str, object] = {"name": ours.picture, "sha256": ours.sha256}
    entry |= {"width": ours.width, "height": ours.height, "setting": ours.setting}
    entry |= _without_nan({"quality": ours.quality, "scale": ours.scale, **figures(row[:1])})
    for baseline in baselines:
        values = {"bpp": baseline.bits_per_pixel, "PSNR": baseline.psnr, "SSIM": baseline.ssim}
        values |= {"MS-SSIM": baseline.ms_ssim, "SSIMULACRA2": baseline.ssimulacra2}
        entry[baseline.codec] = _without_nan(values) if baseline.bytes else None
    return entry


def _without_nan(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in values.items() if not math.isnan(value)}


def _finite(value: float) -> float | None:
    """JSON has neither NaN nor infinity, which is the PSNR of an exact copy."""
    return value if math.isfinite(value) else None


def _all_nan(values: Sequence[float]) -> bool:
    return all(math.isnan(value) for value in values)
