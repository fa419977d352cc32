"""Draws a report as SVG: the distribution of the slow answers of each run.

Only this module needs matplotlib, an optional extra.
"""

import io
from collections.abc import Callable
from typing import Any

from hedgerow.common.errors import ConfigurationError
from hedgerow.gateway.simulate.report import Report

_LINES = ("-", "--", "-.", ":")
_SIZE_IN = (8.0, 4.8)


def check_can_draw() -> None:
    """Check before a long run that drawing is possible.

    Raises:
        ConfigurationError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401, PLC0415 - an optional extra, and slow to load
    except ImportError as error:
        raise ConfigurationError(
            "drawing needs matplotlib, in the extra `plots` (`make setup` installs it)"
        ) from error


def draw(report: Report) -> str:
    """Draw the share of answers that took longer than a time, both axes logarithmic.

    A line crosses 0.1 % at the 99.9th percentile. The same report gives the same text.

    Returns:
        An SVG document.

    Raises:
        ConfigurationError: matplotlib is not installed.
    """

    def paint(axes: Any) -> None:
        for number, run in enumerate(report["runs"]):
            _draw_run(axes, run, _LINES[number // 10 % len(_LINES)])
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        axes.set_xlabel("time to the answer, ms")
        axes.set_ylabel("share of answers that took longer")
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.set_title(report["title"], fontsize="medium", wrap=True)
        axes.legend(fontsize="small")

    return render(paint)


def render(
    paint: Callable[[Any], None],
    *,
    columns: int = 1,
    size_in: tuple[float, float] = _SIZE_IN,
    salt: str = "hedgerow",
    creator: str = "gateway simulate",
) -> str:
    """Draw what `paint` paints; the same painting gives the same text.

    Args:
        paint: called with matplotlib's axes; with more than one column, an array of them.
        columns: number of pictures beside each other.
        size_in: width and height of the whole, in inches of 72 pt.
        salt: salt of the ids; pictures on one page need different ones.
        creator: the creator in the picture's metadata.

    Returns:
        An SVG document.

    Raises:
        ConfigurationError: matplotlib is not installed.
    """
    check_can_draw()
    import matplotlib as mpl  # noqa: PLC0415 - as above
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    # Text remains text, which can be searched and read; ids are made from the salt, not at random.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure = Figure(figsize=size_in, layout="constrained")
        paint(figure.subplots(ncols=columns))
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": creator})
    return buffer.getvalue()


def _draw_run(axes: Any, run: dict[str, Any], line: str) -> None:
    curve = run["curve"]
    if curve:
        times, shares = zip(*curve, strict=True)
        axes.plot(times, shares, line, label=run["name"])
