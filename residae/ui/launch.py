"""How the page starts, on a Space and anywhere else."""

import os
from contextlib import suppress

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

with suppress(ImportError):
    import spaces  # noqa: F401  # on ZeroGPU it has to be there before torch; see residae.ui.zero_gpu

from residae import malloc
from residae.ui.desk import get_ready
from residae.ui.guard import LAUNCH, QUEUE
from residae.ui.page import build
from residae.ui.theme import CSS, HEAD, THEME


def main(mcp: bool = False) -> None:
    """Serve the page until it is interrupted, where GRADIO_SERVER_NAME and GRADIO_SERVER_PORT say.

    With `mcp` its endpoints are tools of the Model Context Protocol as well; that needs the package of this name.
    """
    malloc.tune_malloc()
    get_ready()
    options = LAUNCH | {"mcp_server": mcp}
    build().queue(**QUEUE).launch(theme=THEME, css=CSS, head=HEAD, footer_links=["api", "gradio"], **options)
