"""The page, built and launched. All of it is in `residae.ui`."""

import os
import threading

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

from residae.image import MAX_FILE_BYTES
from residae.ui.desk import warm_up
from residae.ui.page import build
from residae.ui.style import CSS, HEAD, THEME

demo = build()


def main() -> None:
    threading.Thread(target=warm_up, daemon=True).start()  # the page answers while the weights load
    demo.queue(max_size=20).launch(
        theme=THEME, css=CSS, head=HEAD, max_file_size=MAX_FILE_BYTES, ssr_mode=False, footer_links=["api", "gradio"]
    )


if __name__ == "__main__":
    main()
