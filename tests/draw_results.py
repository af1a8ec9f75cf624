"""Draw the chart of README and model card from the table beside the weights: `python -m tests.draw_results`"""

import html
from pathlib import Path

from residae.charts import rate_distortion_chart
from residae.deploy import CHECKPOINT, ROOT
from residae.results import published_curves

CHART = ROOT / CHECKPOINT / "results.svg"
WIDTH, HEIGHT, TITLE = 760, 364, 30  # of each chart, in pixels, and of the line above it


def draw(folder: Path) -> str:
    """The charts of a checkpoint under each other, as an SVG that stands alone, in a light and a dark theme."""
    parts = []
    for index, means in enumerate(published_curves(folder)):
        points = {name: [(p.bits_per_pixel, p.psnr) for p in curve] for name, curve in means.curves.items()}
        chart = rate_distortion_chart(points, None, WIDTH)
        title = f'<text y="22" font-size="13">{html.escape(means.title)}</text>'
        parts.append(
            f'<svg y="{index * HEIGHT}" width="{WIDTH}" height="{HEIGHT}">{title}'
            f'<svg y="{TITLE}" width="{WIDTH}" height="{HEIGHT - TITLE}">{chart}</svg></svg>'
        )
    style = (
        "svg{color:#1f2328}.paper{fill:#fff}@media(prefers-color-scheme:dark){svg{color:#e6edf3}.paper{fill:#0d1117}}"
    )
    height = HEIGHT * len(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="system-ui, sans-serif" fill="currentColor"><style>{style}</style>'
        f'<rect class="paper" width="100%" height="100%"/>{"".join(parts)}</svg>\n'
    )


if __name__ == "__main__":
    CHART.write_text(draw(CHART.parent), encoding="utf-8")
