"""How the page starts, on a Space and anywhere else."""

import os
import sys

from residae.errors import ResidaeError
from residae.ui.environment import read_environment


def main(mcp: bool = False) -> None:
    """Serve the page until it is interrupted, at the address of GRADIO_SERVER_NAME and GRADIO_SERVER_PORT.

    Args:
        mcp: Offer the endpoints as tools of the Model Context Protocol as well, which needs the package `mcp`.
    """
    try:
        address = read_environment(os.environ)
        from residae.ui.server import serve  # Gradio and uvicorn read the environment when they are imported

        serve(address, mcp)
    except ResidaeError as error:
        sys.exit(f"residae: {error}")
