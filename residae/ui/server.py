"""The server of the page, with weights loaded."""

import os
import socket
import threading
from contextlib import suppress

with suppress(ImportError):
    import spaces  # noqa: F401  # on ZeroGPU it has to be imported before torch

from residae import malloc
from residae.checkpoint import Checkpoint
from residae.errors import ResidaeError
from residae.ui import cache
from residae.ui.budget import shares
from residae.ui.environment import Address
from residae.ui.guard import LAUNCH_OPTIONS, QUEUE_OPTIONS
from residae.ui.page import build
from residae.ui.sessions import keep_sessions_small
from residae.ui.store import get_pipeline
from residae.ui.theme import CSS, THEME, head
from residae.ui.zero_gpu import ON_ZERO_GPU

LOST_SECONDS = 30  # without an acknowledgment, after which a connection is lost; Gradio sends something every 15


def serve(address: Address, mcp: bool = False) -> None:
    """Serve the page until it is interrupted.

    Args:
        address: The host and the port.
        mcp: As in `residae.ui.launch.main`.

    Raises:
        ResidaeError: No port is free, or a setting of the environment is wrong.
    """
    malloc.tune_malloc()
    malloc.limit_primitive_cache()
    keep_sessions_small()
    if mcp:
        from residae.ui.mcp import take_data_urls_alone  # which loads a library that pages without tools do not need

        take_data_urls_alone()
    shares()  # an error in the setting is better found now
    _load_checkpoints()
    host = f"[{address.host}]" if ":" in address.host else address.host  # as in a URL
    look = {"theme": THEME, "css": CSS, "head": head(os.environ.get("SPACE_ID")), "footer_links": ["api", "gradio"]}
    place = {"server_name": host, "server_port": address.port, "prevent_thread_lock": True}
    page = build().queue(**QUEUE_OPTIONS)
    try:
        page.launch(mcp_server=mcp, **look, **place, **LAUNCH_OPTIONS)
    except OSError as error:
        raise ResidaeError(f"The page cannot be served at {address.host}: {error}") from error
    for server in page.server.servers:
        for listener in server.sockets:
            notice_lost(listener)
    page.block_thread()


def notice_lost(listener: socket.socket) -> None:
    """Let the connections of a listening socket end where the other side does not answer, and work with them.

    Linux passes the option on to the connections. Otherwise its own limit is a quarter of an hour.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * LOST_SECONDS)


def _load_checkpoints() -> None:
    """Load weights before the first visitor needs them."""
    if ON_ZERO_GPU:
        for name in Checkpoint.find():  # weights can be placed only now; no GPU is there yet for the example reports
            get_pipeline(name)
    else:
        threading.Thread(target=cache.warm_up, daemon=True).start()  # the page answers meanwhile
