"""How the page starts, on a Space and anywhere else."""

import os
import threading
from contextlib import suppress

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

with suppress(ImportError):
    import spaces  # noqa: F401  # on ZeroGPU it has to be imported before torch

from residae import malloc
from residae.checkpoint import Checkpoint
from residae.ui import cache
from residae.ui.guard import LAUNCH_OPTIONS, QUEUE_OPTIONS
from residae.ui.page import build
from residae.ui.store import get_pipeline
from residae.ui.theme import CSS, HEAD, THEME
from residae.ui.zero_gpu import ON_ZERO_GPU


def main(mcp: bool = False) -> None:
    """Serve the page until it is interrupted, at the address of GRADIO_SERVER_NAME and GRADIO_SERVER_PORT.

    Args:
        mcp: Offer the endpoints as tools of the Model Context Protocol as well, which needs the package `mcp`.
    """
    malloc.tune_malloc()
    _load_checkpoints()
    options = LAUNCH_OPTIONS | {"mcp_server": mcp}
    build().queue(**QUEUE_OPTIONS).launch(theme=THEME, css=CSS, head=HEAD, footer_links=["api", "gradio"], **options)


def _load_checkpoints() -> None:
    """Load weights before the first visitor needs them."""
    if ON_ZERO_GPU:
        for name in Checkpoint.find():  # weights can be placed only now; no GPU is there yet for the example reports
            get_pipeline(name)
    else:
        threading.Thread(target=cache.warm_up, daemon=True).start()  # the page answers meanwhile
