"""Figures as inline SVG: equal data give equal bytes."""

import io
import re
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from matplotlib import style
from matplotlib.figure import Figure

WIDTH = 9.4  # largest width of a figure, in inches
INK, PALE, PAPER, ACCENT = "#374151", "#d1d5db", "#f3f4f6", "#c2410c"
STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": PALE,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "grid.color": "#eceef1",
    "legend.frameon": False,
    "lines.linewidth": 1.1,
    "lines.solid_joinstyle": "round",
    "savefig.transparent": True,
    "svg.fonttype": "none",  # text stays text: small, searchable, in the font of the page
    "text.color": INK,
    "text.parse_math": False,  # a name may contain a dollar sign
    "xtick.color": PALE,
    "xtick.labelcolor": INK,
    "ytick.color": PALE,
    "ytick.labelcolor": INK,
}
P = ParamSpec("P")


def drawn(paint: Callable[P, Figure]) -> Callable[Concatenate[str, P], str]:
    """Makes a function that paints a figure return it as inline SVG.

    Args:
        paint: function that draws a figure. It is called with the report's style, whatever the
            user's settings of matplotlib are.

    Returns:
        The function with one more argument in front, the name of the figure. The ids inside the
        figure are made from the name, so no other figure on the page may have it.
    """

    @wraps(paint)
    def svg(name: str, /, *args: P.args, **kwargs: P.kwargs) -> str:
        file = io.StringIO()
        with style.context(["default", STYLE | {"svg.hashsalt": name}]):
            paint(*args, **kwargs).savefig(file, format="svg", metadata={"Date": None})
        return _inline(file.getvalue())

    return svg


def _inline(document: str) -> str:
    """Makes an SVG file a part of an HTML page, where ids of two figures could be the same.

    Args:
        document: SVG file that matplotlib wrote.

    Returns:
        The `<svg>` element without namespaces, metadata, comments and unused ids.
    """
    element = document[document.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->\n?", "", element, flags=re.DOTALL)
    element = re.sub(r' xmlns(:\w+)?="[^"]*"', "", element, count=2)
    return re.sub(r'<g id="[^"]*"', "<g", element)
