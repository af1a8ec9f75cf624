"""A browser that comes late to the updates of a generator shows them all the same."""

import json
from collections.abc import Iterator
from typing import Any

import gradio as gr
from fastapi import FastAPI
from starlette.testclient import TestClient

from residae.ui.page import build
from residae.ui.stream import Blocks


def apply(value: Any, edits: list[Any]) -> Any:
    """What Gradio's script makes of edits: it changes the value itself."""
    for action, path, new in edits:
        if not path:
            assert action in ("replace", "append")
            value = new if action == "replace" else value + new
            continue
        *parents, last = path
        place = value
        for name in parents:
            place = place[name]
        if action == "delete":
            del place[last]
        elif action == "add" and isinstance(place, list):
            place.insert(last, new)
        else:
            place[last] = place[last] + new if action == "append" else new
    return value


def updates_seen_late(blocks: gr.Blocks, fn_index: int) -> list[list[Any]]:
    """The values of each step of an event, as a browser holds them that has received all before it shows the first."""
    with TestClient(gr.mount_gradio_app(FastAPI(), blocks, "/")) as client:
        event = {"fn_index": fn_index, "data": [], "session_hash": "late"}
        client.post("/gradio_api/queue/join", json=event).raise_for_status()
        stream = client.get("/gradio_api/queue/data", params={"session_hash": "late"}).raise_for_status().text
    steps: list[list[Any]] = []
    for line in stream.splitlines():
        message = json.loads(line.removeprefix("data: ") or "{}")
        if message.get("msg") == "process_generating":
            data = message["output"]["data"]
            steps.append([apply(*pair) for pair in zip(steps[-1], data, strict=True)] if steps else data)
        elif message.get("msg") == "process_completed":
            assert message["success"], message
            steps.append(message["output"]["data"])
    return steps


def test_no_update_is_lost_to_a_later_one() -> None:
    assert isinstance(build(), Blocks)
    with Blocks() as blocks:
        plane, text = gr.Radio(["luma"]), gr.Textbox()

        def steps() -> Iterator[dict[Any, Any]]:
            yield {plane: gr.Radio(["luma", "blue"], value="luma")}
            yield {text: "a"}
            yield {text: "ab", plane: "blue"}

        blocks.load(steps, outputs=[plane, text])
    first, second, third, last = updates_seen_late(blocks, 0)
    assert first[0] == {"choices": [["luma", "luma"], ["blue", "blue"]], "value": "luma", "__type__": "update"}
    assert first[1] == {"__type__": "update"}
    assert second == [{"__type__": "update"}, "a"]
    assert third == last == ["blue", "ab"]
