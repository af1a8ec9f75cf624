"""The endpoints of the page as tools of the Model Context Protocol."""

import asyncio
import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from service import HOSTILE, assert_withstands, serving

from residae.codec import read_info
from residae.compare import OURS
from residae.image import Picture, Pixels, write_png
from residae.pipeline import Pipeline
from residae.ui.mcp import DATA_URL

PAGE = "from residae.cli import main; main(['page', '--mcp'])"


def test_the_endpoints_are_tools(
    checkpoint: Path, pipeline: Pipeline, smooth: Callable[[int, int, int], Pixels], tmp_path: Path
) -> None:
    data = write_png(smooth(48, 64, 0))
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"

    async def use(address: str) -> dict[str, Any]:
        async with (
            streamable_http_client(f"{address}/gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            calls = {
                "compress": ("compress", {"picture": url, "quality": 60}),
                "compare": ("compare", {"picture": url}),
                "maps": ("map_error", {"picture": url, "mute": "2", "crop": "40x30+9+5", "scale": "1.5"}),
                "elsewhere": ("compare", {"picture": "http://127.0.0.1:1/picture.png"}),
                "no picture": ("reconstruct", {"picture": "data:image/png;base64,AAAA"}),
            }
            return {"tools": tools} | {key: await session.call_tool(*call) for key, call in calls.items()}

    (tmp_path / "service").mkdir()
    with serving(tmp_path / "service", checkpoint, PAGE, GRADIO_SERVER_NAME="::", **HOSTILE) as service:
        assert_withstands(service)
        found = asyncio.run(use(service.address))
        tools = found["tools"]
        assert tools.keys() == {"reconstruct", "map_error", "compress", "decompress", "compare"}
        properties = tools["compress"].inputSchema["properties"]
        assert list(properties) == ["picture", "color", "quality", "max_bytes", "side", "refine", "scale", "crop"]
        for tool in tools.values():
            assert tool.description
            assert all(described["description"] for described in tool.inputSchema["properties"].values())
            assert "http" not in json.dumps(tool.inputSchema) + tool.description
        assert properties["picture"]["format"] == DATA_URL
        assert DATA_URL in tools["compress"].description
        assert not found["maps"].isError

        assert not found["compress"].isError
        (file,) = service.files.rglob("*.rae")
        assert file.name in found["compress"].content[0].text
        expected = pipeline.write(pipeline.encode(Picture(smooth(48, 64, 0), (), len(data)), color=True), 60)
        assert file.stat().st_size == pytest.approx(len(expected.data), rel=0.05)  # the precisions may differ
        assert read_info(file.read_bytes()).quality == 60
        assert {OURS, "ssimulacra2"} <= set(re.findall(r"\w+", found["compare"].content[0].text))
        assert found["elsewhere"].isError
        assert found["elsewhere"].content[0].text.startswith(f"picture is {DATA_URL}")
        assert found["no picture"].isError
        assert "not a picture in PNG" in found["no picture"].content[0].text
