"""A stand-in for the package `spaces` of a ZeroGPU Space, for a machine without any GPU.

As there: CUDA seems to be present from the start, the main thread can place weights on it until the page is launched,
and from then on nothing reaches it but from a decorated function, which runs in a forked process and is handed
pickles. Whatever a real ZeroGPU Space would die of raises `Forbidden` here. `RECORD` holds what happened.
"""

import io
import multiprocessing
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from functools import wraps
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

IMPORTED_FIRST = not {"torch", "gradio"} & sys.modules.keys()

import gradio as gr  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

RECORD: dict[str, Any] = {"imported first": IMPORTED_FIRST, "placed": 0, "launched with": None}
RECORD |= {"durations": [], "stopped": 0}
_to = torch.Tensor.to
_lent = False  # True only in a forked process


class Forbidden(Exception):  # noqa: N818  # what it says to the reader
    pass


def GPU(*, duration: Callable[..., int]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:  # noqa: N802
    """Of a generator function, as the page has it. It goes on while nobody takes what it yields."""

    def decorate(task: Callable[..., Any]) -> Callable[..., Any]:
        if RECORD["launched with"] is not None:
            raise Forbidden("decorated after the launch")
        RECORD["decorated"] = RECORD.get("decorated", 0) + 1

        @wraps(task)
        def call(*arguments: Any, **named: Any) -> Iterator[Any]:
            RECORD["durations"].append(duration(*arguments, **named))
            ours, theirs = multiprocessing.Pipe()
            context = multiprocessing.get_context("fork")
            stop = context.Event()
            worker = context.Process(target=_work, args=(task, theirs, stop))
            worker.start()
            theirs.close()
            ours.send_bytes(_pickled((arguments, named)))
            received = SimpleQueue[tuple[str, Any]]()

            def receive() -> None:
                kind = "value"
                try:
                    while kind == "value":
                        kind, result = pickle.loads(ours.recv_bytes())
                        received.put((kind, result))
                except EOFError:  # the process died
                    received.put(("error", "EOFError"))

            thread = threading.Thread(target=receive)
            thread.start()
            try:
                while (message := received.get())[0] == "value":
                    yield message[1]
                if message[0] == "error":
                    raise gr.Error(message[1])  # the name of its class, which is all that ZeroGPU tells
            except GeneratorExit:
                RECORD["stopped"] += 1
                stop.set()
                raise
            finally:
                thread.join()
                ours.close()
                worker.join()

        return call

    return decorate


def _work(task: Callable[..., Any], connection: Any, stop: Any) -> None:
    global _lent
    _lent = True
    arguments, named = pickle.loads(connection.recv_bytes())
    generator = task(*arguments, **named)
    end: tuple[str, Any] = "end", None
    try:
        for result in generator:
            if stop.is_set():
                generator.close()
                break
            connection.send_bytes(_pickled(("value", result)))
    except Exception as error:
        end = "error", type(error).__name__
    connection.send_bytes(_pickled(end))


class _Pickler(pickle.Pickler):
    def reducer_override(self, thing: object) -> Any:
        if isinstance(thing, torch.Tensor | nn.Module):
            raise Forbidden("only what lies on the CPU, as arrays, crosses between the processes")
        return NotImplemented


def _pickled(thing: object) -> bytes:
    stream = io.BytesIO()
    _Pickler(stream).dump(thing)
    return stream.getvalue()


def _to_emulated(tensor: torch.Tensor, *arguments: Any, **named: Any) -> torch.Tensor:
    """`Tensor.to` where the GPU is a figure of speech: the tensor stays, and it is noted who moved it, and when."""
    devices = [value for value in (*arguments, *named.values()) if isinstance(value, str | torch.device)]
    cuda = any(torch.device(device).type == "cuda" for device in devices)
    arguments = tuple("cpu" if cuda and value in devices else value for value in arguments)
    moved = _to(tensor, *arguments, **named)
    if cuda and not _lent:
        if threading.current_thread() is not threading.main_thread() or RECORD["launched with"] is not None:
            raise Forbidden("only the main thread places tensors, and only before the launch")
        RECORD["placed"] += 1
    return moved


def _no_cuda() -> None:
    raise Forbidden("CUDA has been initialized")


def _memory(value: Any) -> Callable[..., Any]:
    def tell(device: object = None) -> Any:
        if not _lent:
            raise Forbidden("there is no GPU to ask for its memory")
        return value

    return tell


def _launch(blocks: gr.Blocks, **_: object) -> None:
    RECORD["launched with"] = RECORD.get("decorated", 0)


gr.Blocks.launch = _launch
gr.Blocks.server = SimpleNamespace(servers=[])
gr.Blocks.block_thread = lambda blocks: None
torch.Tensor.to = _to_emulated
torch._C._cuda_init = _no_cuda
torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 1
torch.cuda.is_bf16_supported = lambda including_emulation=True: False
torch.cuda.memory_allocated = torch.cuda.memory_reserved = _memory(0)
torch.cuda.mem_get_info = _memory((2**30, 2**30))  # bytes free, and in all
torch.cuda.get_device_name = lambda device=None: "a GPU that is lent"
