"""A figure as inline SVG: the same bytes for the same data."""

import io
import re
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from matplotlib import style
from matplotlib.figure import Figure

WIDTH = 9.4  # inches, of every figure at most
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
    "text.parse_math": False,  # a name may hold a dollar
    "xtick.color": PALE,
    "xtick.labelcolor": INK,
    "ytick.color": PALE,
    "ytick.labelcolor": INK,
}
P = ParamSpec("P")


def drawn(paint: Callable[P, Figure]) -> Callable[Concatenate[str, P], str]:
    """Makes a function that paints a figure return it as inline SVG.

    Args:
        paint: called in the report's style, whatever the user's matplotlib is set to.

    Returns:
        The function with one more argument in front, the name of the figure. It must differ from
        the others on the page, for the ids inside the figure are made from it.
    """

    @wraps(paint)
    def svg(name: str, /, *args: P.args, **kwargs: P.kwargs) -> str:
        file = io.StringIO()
        with style.context(["default", STYLE | {"svg.hashsalt": name}]):
            paint(*args, **kwargs).savefig(file, format="svg", metadata={"Date": None})
        return inline(file.getvalue())

    return svg


def inline(document: str) -> str:
    """An SVG file as a part of HTML, where ids and namespaces of two figures would clash.

    Args:
        document: as matplotlib or Graphviz writes it.

    Returns:
        Its `<svg>` element without namespaces, metadata, comments, tooltips or ids nobody uses.
    """
    element = document[document.index("<svg") :]
    element = re.sub(r"<(metadata|title)>.*?</\1>|<!--.*?-->\n?", "", element, flags=re.DOTALL)
    element = re.sub(r' xmlns(:\w+)?="[^"]*"', "", element, count=2)
    return re.sub(r'<g id="[^"]*"', "<g", element)
