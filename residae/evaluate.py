"""Measure a checkpoint and baselines on a folder of pictures: the tables of the README and the model card."""

import hashlib
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from tqdm import tqdm

from residae import metrics
from residae.baselines import Baseline, compress_within
from residae.codec.coder import static_bits
from residae.compare import OURS
from residae.distributed import Processes
from residae.errors import CodecError, ImageError, OutOfMemoryError, ResidaeError
from residae.files import STREAM, InputFile, find_files, read_file
from residae.image import MAX_FILE_BYTES, SUFFIXES, Picture, Pixels, read_picture
from residae.image.process import DecoderProcess
from residae.pipeline import Encoding, Pipeline, reference
from residae.results import Measurement, ResultsFile, Row, bd_rates, figures, mean_figures, overhead

Pictures = str | Path | Sequence[InputFile]
OnSkip = Callable[[Path, ResidaeError], None]  # a file that cannot be measured, and why
MAX_NAME = 40  # characters of a picture's name in the table
MAX_OPENING_SECONDS = 300.0  # of one picture: nobody waits for it, and the machine may be busy


@dataclass(frozen=True)
class Setting:
    """What is asked of the codec; by default, to decode the unquantized latent.

    Attributes:
        quality: Of the file, 0 to 100.
        bits_per_pixel: The most that the whole file may take, in place of a quality.
        scale: At which the picture is encoded; if None, 1, or chosen by `Pipeline.encode_within` if there is a limit.
        steps: Of `Pipeline.refine`; 0 where there is no file.

    Raises:
        ValueError: There are both a quality and a limit, or steps and no file.
    """

    quality: float | None = None
    bits_per_pixel: float | None = None
    scale: float | None = None
    steps: int = 0

    def __post_init__(self) -> None:
        if self.quality is not None and self.bits_per_pixel is not None:
            raise ValueError("a file has a quality or a limit, not both")
        if self.steps and not self.is_quantized:
            raise ValueError("files are refined: give a quality or bits_per_pixel")

    @property
    def is_quantized(self) -> bool:
        """Whether there is a file."""
        return self.quality is not None or self.bits_per_pixel is not None

    def __str__(self) -> str:
        name = "unquantized" if self.bits_per_pixel is None else f"{self.bits_per_pixel:g} bpp"
        if self.quality is not None:
            name = f"quality {self.quality:g}"
        name += "" if self.scale is None else f", scale {self.scale:g}"
        return f"{name}, {self.steps} {'step' if self.steps == 1 else 'steps'}" if self.steps else name

    def max_bytes(self, picture: Picture) -> int | None:
        """The byte budget of a picture, if there is one.

        Args:
            picture: Its own size counts, whatever the scale.

        Returns:
            The most bytes that the file may have; None without `bits_per_pixel`.
        """
        rate = self.bits_per_pixel
        return None if rate is None else metrics.byte_budget(rate, picture.width, picture.height)


def evaluate(
    pipeline: Pipeline,
    pictures: Pictures,
    settings: Sequence[Setting] = (Setting(),),
    baselines: Sequence[Baseline] = (),
    *,
    color: bool = False,
    ssimulacra2: bool = False,
    results: ResultsFile | None = None,
    on_skip: OnSkip | None = None,
) -> Iterator[Row]:
    """Measure each picture at each setting.

    Args:
        pipeline: Encodes each picture once at each scale, and decodes it at every setting.
        pictures: A folder, or files that `picture_files` found.
        settings: What is asked of our codec.
        baselines: Codecs that get at most the bytes of our file.
        color: Whether to measure R, G and B; otherwise every codec codes only luma.
        ssimulacra2: Whether to measure SSIMULACRA 2 as well.
        results: Gives the measurements that it holds, and gets the others as they are made.
        on_skip: Called once with each file that cannot be opened, or that takes more memory than there is at some
            setting.

    Yields:
        For each picture and setting our measurement, then that of each baseline.

    Raises:
        ImageError: There is no picture in the folder.
        ResidaeError: `results` cannot be written.
    """
    for file, data, picture in open_pictures(pictures, on_skip):
        sha256, reported = hashlib.sha256(data).hexdigest(), False
        task = _Task(pipeline, file, sha256, picture, color, ssimulacra2)
        for setting in settings:
            asked = task.ask(setting)
            try:
                ours = (results and results.find(asked, ssimulacra2)) or task.measure(asked, setting)
            except OutOfMemoryError as error:  # there may be more the next time, so `results` does not get this row
                if on_skip and not reported:
                    on_skip(file.path, error)
                reported = True
                yield asked, *(task.ask_baseline(setting, baseline, None) for baseline in baselines)
                continue
            row = [ours]
            for baseline in baselines:
                asked = task.ask_baseline(setting, baseline, ours.bytes)
                found = results and results.find(asked, ssimulacra2)
                row.append(found or task.measure_baseline(asked, baseline))
            if results:
                results.append(row)
            yield tuple(row)


def picture_files(arguments: Iterable[str | Path], on_skip: OnSkip | None = None) -> list[InputFile]:
    """The picture files that files, folders and patterns stand for, as `residae.files.find_files`.

    Args:
        arguments: Files, folders and patterns.
        on_skip: Called with each that stands for no file, or cannot be listed.

    Returns:
        The files, each of another name.
    """
    report = on_skip or (lambda path, error: None)
    files = find_files(
        map(Path, arguments), SUFFIXES, lambda path, reason: report(path, ImageError(f"{path}: {reason}"))
    )
    if len({file.name for file in files}) == len(files):
        return files
    return [InputFile(file.path, file.path.as_posix()) for file in files]  # of several folders


def open_pictures(pictures: Pictures, on_skip: OnSkip | None = None) -> Iterator[tuple[InputFile, bytes, Picture]]:
    """Open pictures one at a time, each in a process that is confined; see `residae.image.process`.

    Args:
        pictures: A folder, or files that `picture_files` found.
        on_skip: Called with each file that cannot be opened, or that takes more memory than there is.

    Yields:
        The file, its content and the picture.

    Raises:
        ImageError: There is no picture in the folder.
    """
    files = picture_files([pictures], on_skip) if isinstance(pictures, (str, Path)) else pictures
    found = False
    with closing(DecoderProcess(seconds=MAX_OPENING_SECONDS)) as decoder:
        for file in files:
            try:
                data = read_picture(read_file(STREAM, MAX_FILE_BYTES + 1) if file.path == STREAM else file.path)
                picture = decoder.open_picture(data)
            except ResidaeError as error:
                if on_skip:
                    on_skip(file.path, error)
                continue
            found = True
            yield file, data, picture
    if not found and isinstance(pictures, (str, Path)):
        raise ImageError(f"There is no picture in {pictures}.")


@dataclass
class _Task:
    """All measurements of one picture, which is encoded once at each scale that they need."""

    pipeline: Pipeline
    file: InputFile
    sha256: str
    picture: Picture
    color: bool
    ssimulacra2: bool
    encodings: dict[float, Encoding] = field(default_factory=dict)  # by scale

    @cached_property
    def original(self) -> Pixels:
        return reference(self.picture, self.color)

    def ask(self, setting: Setting) -> Measurement:
        """The measurement of our codec that is to be made, without its results."""
        pipeline = self.pipeline
        options = f"{pipeline.name} {pipeline.codec.fingerprint.hex()}, {pipeline.engine.description}"
        return self._ask(setting, OURS, options, setting.max_bytes(self.picture))

    def ask_baseline(self, setting: Setting, baseline: Baseline, max_bytes: int | None) -> Measurement:
        """The measurement of a baseline that is to be made, without its results."""
        return self._ask(setting, baseline.name, baseline.description, max_bytes)

    def _ask(self, setting: Setting, codec: str, options: str, max_bytes: int | None) -> Measurement:
        options = ", ".join(filter(None, ("color" if self.color else "luma", options)))
        picture = self.picture
        common = self.file.name, self.sha256, picture.width, picture.height, str(setting)
        return Measurement(*common, codec, options, max_bytes)

    def measure(self, asked: Measurement, setting: Setting) -> Measurement:
        """Compress and decode the picture by our codec."""
        pipeline, picture = self.pipeline, self.picture
        try:
            encoding, encode_seconds = self._encode(setting, asked.max_bytes)
            if not setting.is_quantized:
                decoding = pipeline.decode_and_measure(picture, encoding).decoding
                measured = self._with_metrics(asked, decoding.pixels)
                measured = replace(measured, encode_seconds=encode_seconds, decode_seconds=decoding.seconds)
                return replace(measured, scale=encoding.scale)
            start = time.perf_counter()
            if asked.max_bytes is None:
                compressed = pipeline.write(encoding, setting.quality or 0)
            else:
                compressed = pipeline.write_within(encoding, asked.max_bytes)
            if setting.steps:
                compressed = pipeline.refine(
                    picture, encoding, compressed.quality, setting.steps, max_bytes=asked.max_bytes
                )
            encode_seconds += time.perf_counter() - start
        except (CodecError, ImageError):  # even quality 0 takes more bytes, or the scaled picture is over a limit
            return asked
        start = time.perf_counter()
        pipeline.write(encoding, compressed.quality)
        entropy_encoding = time.perf_counter() - start
        start = time.perf_counter()
        pipeline.codec.decompress(compressed.data)
        entropy_decoding = time.perf_counter() - start
        report = pipeline.decode_and_measure(picture, encoding, compressed)
        return replace(
            self._with_metrics(asked, report.decoding.pixels),
            quality=compressed.quality,
            scale=encoding.scale,
            bytes=len(compressed.data),
            ideal_bytes=float(pipeline.channel_bits(compressed).sum()) / 8,
            static_bytes=sum(static_bits([plane]) for plane in compressed.symbols) / 8,
            encode_seconds=encode_seconds,
            decode_seconds=entropy_decoding + report.decoding.seconds,
            coding_seconds=entropy_encoding,
            parsing_seconds=entropy_decoding,
        )

    def _encode(self, setting: Setting, max_bytes: int | None) -> tuple[Encoding, float]:
        """The encoding at a setting, and the seconds that it took."""
        if setting.scale is None and max_bytes is not None:
            start = time.perf_counter()
            encoding = self.pipeline.encode_within(self.picture, self.color, max_bytes)
            return encoding, time.perf_counter() - start
        scale = 1.0 if setting.scale is None else setting.scale
        if scale not in self.encodings:
            self.encodings[scale] = self.pipeline.encode(self.picture, self.color, scale=scale)
        return self.encodings[scale], self.encodings[scale].seconds

    def measure_baseline(self, asked: Measurement, baseline: Baseline) -> Measurement:
        """Compress and decode the picture by a baseline within the bytes of our file."""
        coded = compress_within(self.original, baseline, asked.max_bytes) if asked.max_bytes else None
        if coded is None:
            return asked
        return replace(
            self._with_metrics(asked, coded.pixels),
            quality=coded.quality,
            bytes=len(coded.data),
            encode_seconds=coded.encode_seconds,
            decode_seconds=coded.decode_seconds,
        )

    def _with_metrics(self, asked: Measurement, pixels: Pixels) -> Measurement:
        pair = self.original, pixels
        return replace(
            asked,
            psnr=metrics.psnr(*pair),
            ssim=metrics.ssim(*pair),
            ms_ssim=metrics.ms_ssim(*pair),
            ssimulacra2=metrics.ssimulacra2(*pair) if self.ssimulacra2 else math.nan,
        )


def print_evaluation(
    pipeline: Pipeline,
    files: Sequence[InputFile],
    settings: Sequence[Setting] = (Setting(),),
    baselines: Sequence[Baseline] = (),
    *,
    color: bool = False,
    ssimulacra2: bool = False,
    results: ResultsFile | None = None,
    processes: Processes = Processes(),  # noqa: B008
) -> tuple[list[Row], list[ResidaeError]]:
    """Evaluate, and print a table: a line for each picture and setting, then the means and the BD-rates.

    Of a setting at which nothing could be measured, there is no mean.

    Args:
        pipeline: As in `evaluate`.
        files: That `picture_files` found. A file that cannot be measured is reported.
        settings: As in `evaluate`.
        baselines: As in `evaluate`; the table has their PSNR.
        color: As in `evaluate`.
        ssimulacra2: As in `evaluate`.
        results: As in `evaluate`.
        processes: Share the files. The first prints the table, with several processes at the end.

    Returns:
        The rows of all processes in the order of the table, and why files could not be measured: an error for each.

    Raises:
        ResidaeError: `results` cannot be written.
    """
    columns = ["bytes", "bpp", "PSNR", "SSIM", "MS-SSIM", *(["SSIMULACRA2"] if ssimulacra2 else [])]
    columns += [*(baseline.name for baseline in baselines), "encode", "decode", "entropy enc", "entropy dec"]
    longest = max((len(file.name) for file in files), default=0)
    widths = min(max(11, longest), MAX_NAME) + 1, max(13, *(len(str(setting)) + 2 for setting in settings))
    kind = "color" if color else "luma"

    def print_row(row: Row) -> None:
        name = row[0].picture if len(row[0].picture) < widths[0] else "…" + row[0].picture[2 - widths[0] :]
        tqdm.write(f"{name:<{widths[0]}}{row[0].setting:<{widths[1]}}" + _cells(columns, figures(row)))
        sys.stdout.flush()

    if processes.is_first:
        units = "PSNR in dB; seconds; entropy encoding and decoding once, in ms"
        print(f"{pipeline.name} on {pipeline.engine.description}; {kind}; {units}")
        heads = "".join(f"{column:>{_width(column)}}" for column in columns)
        print(f"{'picture':<{widths[0]}}{'setting':<{widths[1]}}" + heads)
    share = processes.share(files)
    places = {file.name: index for index, file in enumerate(share)}
    failures: list[ResidaeError] = []
    rows: list[Row] = []
    with tqdm(
        total=len(settings) * len(share),
        disable=None if processes.is_first else True,
        bar_format="{percentage:.0f} %|{bar}| {remaining}",
    ) as bar:

        def on_skip(path: Path, error: ResidaeError) -> None:
            failures.append(error)
            tqdm.write(f"residae: {path} is skipped: {error}", file=sys.stderr)

        for row in evaluate(
            pipeline,
            share,
            settings,
            baselines,
            color=color,
            ssimulacra2=ssimulacra2,
            results=results,
            on_skip=on_skip,
        ):
            rows.append(row)
            if processes.count == 1:
                print_row(row)
            done = places[row[0].picture] * len(settings) + (len(rows) - 1) % len(settings) + 1  # with skipped files
            bar.update(done - bar.n)
        bar.update(bar.total - bar.n)
    gathered = processes.gather((rows, failures))
    order = {file.name: index for index, file in enumerate(files)}
    rows = sorted((row for part, _ in gathered for row in part), key=lambda row: order[row[0].picture])
    if processes.is_first:
        for row in rows if processes.count > 1 else ():
            print_row(row)
        for index, setting in enumerate(settings):
            measured = [row for row in rows[index :: len(settings)] if not math.isnan(row[0].psnr)]
            if not measured:
                continue
            title = f"{f'mean of {len(measured)}':<{widths[0]}}{setting!s:<{widths[1]}}"
            print(title + _cells(columns, mean_figures(measured)))
            for line in overhead(measured):
                print(f"  {line}")
        for codec, (percent, pictures) in bd_rates(rows).items():
            mean = f"mean of {pictures} {'picture' if pictures == 1 else 'pictures'}"
            print(f"BD-rate of {codec} against {OURS}: {percent:+.1f} %, {mean}")
    return rows, [error for _, part in gathered for error in part]


def _cells(columns: Iterable[str], values: Mapping[str, float]) -> str:
    digits = {"bytes": 0, "bpp": 4, "SSIM": 4, "MS-SSIM": 4, "entropy enc": 1, "entropy dec": 1}
    cells = (f"{values[name]:,.{digits.get(name, 2)}f}" if name in values else "-" for name in columns)
    return "".join(f"{cell:>{_width(name)}}" for name, cell in zip(columns, cells, strict=True))


def _width(column: str) -> int:
    return max(8, len(column) + 2)
