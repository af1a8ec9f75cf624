"""What programs call by name, with gradio_client and with curl, on a tiny network."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from service import Service, program, serving
from visitor import VISIT

from residae import heatmaps
from residae.baselines import CODECS
from residae.codec import read_info
from residae.compare import OURS, Comparison
from residae.edit import Edits, edit_picture
from residae.image import CropBox, Picture, Pixels, crop, open_picture, write_picture, write_png
from residae.pipeline import Pipeline
from residae.progress import Progress
from residae.ui import endpoints
from residae.ui.budget import Speed
from residae.ui.endpoints import Options
from residae.ui.work import Work

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
Call = Callable[..., Any]


@pytest.fixture(scope="module")
def service(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("app"), checkpoint) as service:
        yield service
    assert "Traceback" not in service.log.read_text().replace(" refused.\nTraceback", "")


@pytest.fixture(scope="module")
def client(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = program(service.address, tmp_path_factory.mktemp("answers"))
    yield client
    client.close()


@pytest.fixture
def picture(smooth: Callable[[int, int, int], Pixels]) -> Picture:
    return Picture(smooth(72, 96, 0), (), None)


@pytest.fixture
def call(client: Client, picture: Picture, tmp_path: Path) -> Call:
    """Calls an endpoint with the picture and parameters."""
    (tmp_path / "picture.png").write_bytes(write_png(picture.pixels))
    return lambda name, **given: client.predict(handle_file(tmp_path / "picture.png"), **given, api_name=f"/{name}")


@pytest.fixture(scope="module")
def pipeline(checkpoint: Path) -> Pipeline:
    """The network of the page, with the weights as they are stored."""
    return Pipeline.open(checkpoint)


def agree(path: str, expected: Pixels) -> None:
    """Whether a file has these pixels but for a gray level: the precisions may differ."""
    difference = open_picture(path).pixels.astype(int) - expected
    assert abs(difference).max() <= 1


def test_the_endpoints_are_documented(client: Client) -> None:
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {"/reconstruct", "/map_error", "/compress", "/decompress", "/compare"}
    names = [parameter["parameter_name"] for parameter in endpoints["/compress"]["parameters"]]
    assert names == ["picture", "color", "quality", "max_bytes", "side", "refine", "scale", "crop"]
    parameters = endpoints["/map_error"]["parameters"]
    types = {parameter["parameter_name"]: parameter["python_type"]["type"] for parameter in parameters}
    assert types["picture"] == "filepath"
    assert (types["color"], types["quality"], types["max_bytes"], types["crop"]) == ("bool", "float", "int", "str")
    assert [p["parameter_name"] for p in parameters if not p["parameter_has_default"]] == ["picture"]
    assert all(parameter["label"] for parameter in parameters)


def test_reconstruct_and_decompress_give_what_the_package_gives(
    call: Call, client: Client, picture: Picture, pipeline: Pipeline
) -> None:
    report = pipeline.reconstruct(picture, color=False, quality=70)
    assert report.compressed
    png, figures = call("reconstruct", color=False, quality=70)
    agree(png, report.decoding.pixels)
    assert figures["psnr"] == pytest.approx(report.psnr, abs=0.01)
    assert figures["ssim"] == pytest.approx(report.ssim, abs=0.001)
    assert (figures["width"], figures["height"], figures["quality"], figures["scale"]) == (96, 72, 70, 1)
    file, made = call("compress", color=False, quality=70)
    assert made == {name: figures[name] for name in made}
    assert made["bytes"] == Path(file).stat().st_size == pytest.approx(len(report.compressed.data), rel=0.02)
    again, info = client.predict(handle_file(file), api_name="/decompress")
    assert (info["height"], info["width"]) == (72, 96)
    agree(again, open_picture(png).pixels)


def test_size_scale_refinement_and_crop(call: Call, picture: Picture, pipeline: Pipeline) -> None:
    least, plain = (call("compress", quality=quality)[1]["bytes"] for quality in (0, 80))
    size = (least + plain) // 2
    file, figures = call("compress", max_bytes=size)
    encoding, compressed = pipeline.encode_and_write(picture, True, max_bytes=size)
    assert read_info(Path(file).read_bytes()).scale == figures["scale"] == encoding.scale
    assert len(compressed.data) * 0.9 < figures["bytes"] <= size
    assert call("reconstruct", max_bytes=size, scale="1")[1]["scale"] == 1
    assert call("compress", scale="1.5")[1]["scale"] == 1.5
    assert call("reconstruct", refine=5)[1]["psnr"] > call("reconstruct")[1]["psnr"]
    part = crop(picture, CropBox(20, 8, 48, 40))
    png, figures = call("reconstruct", crop="48x40+20+8", side=0)
    agree(png, pipeline.reconstruct(part, quality=80).decoding.pixels)
    assert "Part of the picture" in figures["notices"][0]
    assert call("reconstruct", side=32)[1]["width"] == 32


@pytest.mark.parametrize(
    ("options", "edits"),
    [
        ({"mute": "2", "gain": "3=-1"}, Edits((1, 0, -1, 1))),
        ({"solo": "1,4", "step": 1.5, "noise": 0.25}, Edits((1, 0, 0, 1), step=1.5, noise=0.25)),
    ],
)
def test_edits(options: dict[str, Any], edits: Edits, call: Call, picture: Picture, pipeline: Pipeline) -> None:
    report, compressed = edit_picture(pipeline, picture, True, edits, quality=100)
    assert compressed
    png, figures = call("reconstruct", quality=100, **options)
    agree(png, report.decoding.pixels)
    assert figures["bytes"] == pytest.approx(len(compressed.data), rel=0.02)
    assert call("reconstruct", quality=100)[1]["psnr"] != pytest.approx(figures["psnr"], abs=0.01)


def test_maps_of_a_blend_without_a_file(call: Call, picture: Picture, pipeline: Pipeline, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    other.write_bytes(write_png(picture.pixels[::-1, ::-1]))
    report, _ = edit_picture(pipeline, picture, False, Edits(blend=0.25), open_picture(other))
    given = {"color": False, "unquantized": True, "blend": handle_file(other), "blend_share": 0.25}
    error, channels, figures = call("map_error", **given, signed=True, map_scale=40)
    expected = heatmaps.error_map(report.original, report.decoding.pixels, True, 40)
    assert np.abs(open_picture(error).pixels.astype(int) - expected).mean() < 2
    tiles = heatmaps.latent_tiles(report.encoding.latents[0])
    assert np.abs(open_picture(channels).pixels.astype(int) - heatmaps.mosaic(tiles)).mean() < 2
    assert (figures["bytes"], figures["quality"], figures["map_scale"]) == (0, None, 40)


def test_compare(call: Call) -> None:
    rows = call("compare", color=False, max_bytes=700)
    assert [row["codec"] for row in rows] == [OURS, *CODECS]
    for row in rows:
        assert {row[name] is None for name in ("bytes", "psnr", "ssimulacra2")} == {row["bpp"] is None}
    assert all(row["bytes"] <= 700 for row in rows if row["bytes"])


def test_compare_has_avif_at_its_best_speed_where_asked(
    pipeline: Pipeline, picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ours_alone(comparison: Comparison, progress: Progress) -> Comparison:
        return replace(comparison, results=comparison.results[:1])

    def learn(speed: Speed, pixels: float, seconds: float, pictures: int) -> None:
        pytest.fail("the speed of the network is not that of other codecs")

    monkeypatch.setattr(endpoints, "default_checkpoint", lambda: "tiny")
    monkeypatch.setattr(endpoints, "get_pipeline", lambda _: pipeline)
    monkeypatch.setattr(endpoints, "with_best_speed", ours_alone)
    monkeypatch.setattr(Speed, "learn", learn)
    path = tmp_path / "picture.png"
    path.write_bytes(write_png(picture.pixels))
    for slow, count in ((False, 1 + len(CODECS)), (True, 1)):
        with Work(VISIT) as work:
            assert len(endpoints.compare(work, Options(str(path), slow_avif=slow))) == count


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"crop": "9x9"}, "is not WxH"),
        ({"crop": "97x9+0+0"}, "is not within the picture"),
        ({"scale": "9"}, "0.5 to 4, not 9"),
        ({"scale": "auto"}, "give max_bytes"),
        ({"mute": "0"}, "they count from 1"),
        ({"gain": "1"}, "is not a number"),
        ({"solo": "5"}, "There is no channel 5"),
        ({"crop": "<b>"}, "'&lt;b&gt;' is not WxH"),
        ({"quality": "60"}, 'quality is a number, not "60"'),
        ({"max_bytes": [900]}, r"max_bytes is a number, not \[900\]"),
        ({"step": True}, "step is a number, not true"),
        ({"color": "false"}, 'color is true or false, not "false"'),
        ({"unquantized": True, "refine": 5}, "leave out max_bytes and refine"),
        ({"unquantized": True, "max_bytes": 9000}, "leave out max_bytes and refine"),
    ],
    ids=str,
)
def test_options_without_a_meaning_are_refused(call: Call, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Exception, match=sentence):
        call("reconstruct", **options)


def test_a_file_that_is_no_picture_is_refused_in_a_sentence(client: Client, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no picture")
    with pytest.raises(Exception, match="not a picture in PNG"):
        client.predict(handle_file(tmp_path / "x.png"), api_name="/reconstruct")


@pytest.fixture
def documented(picture: Picture, pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The section of README.md, in a folder with the files that it names."""
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(write_picture(np.tile(picture.pixels, (8, 8, 1)), ".jpg"))
    Path("photo.rae").write_bytes(pipeline.compress(picture))
    return README.partition("\n## Endpoints\n")[2].partition("\n## ")[0]


def test_the_python_of_the_readme(documented: str, service: Service) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", documented, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r'"/(\w+)"', code)) == {"reconstruct", "map_error", "compress", "decompress", "compare"}
    exec(code.replace("http://127.0.0.1:7860", service.address), {})


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_curl_lines_of_the_readme(documented: str, service: Service) -> None:
    (code,) = re.findall(r"^```sh\n(.*?)^```", documented, re.MULTILINE | re.DOTALL)
    lines = code.replace("http://127.0.0.1:7860", service.address).splitlines()
    calls = [line for line in lines if line.startswith("call ")]
    assert {line.split()[1] for line in calls} == {"reconstruct", "map_error", "compress", "decompress", "compare"}
    before = "\n".join(line for line in lines if line not in calls)
    for line in calls:
        answer = subprocess.run(["sh", "-c", f"{before}\n{line}"], capture_output=True, text=True, check=True).stdout
        assert "event: complete" in answer, (line, answer)
