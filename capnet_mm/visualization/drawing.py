"""What all figures share: their form, the names along axes, and the way to a PNG.

Each figure is a matplotlib ``Figure`` drawn from plain data in the colours of a
theme; nothing of pyplot's shared state is touched.
"""

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text

from .theme import Theme

# Inches; a page shows 96 pixels of them as they are.
WIDTH = 11
# More names than this cannot be read along an axis of that width.
MAX_NAMES = 100
_NAME_LENGTH = 24

# Fonts with Chinese, Japanese and Korean letters that systems and users have;
# matplotlib's own has none.
CJK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "SimHei",
    "Malgun Gothic",
    "Arial Unicode MS",
)


def render_png(figure: Figure, dpi: int = 144) -> bytes:
    """Make a PNG of a figure.

    Letters that the figure's font lacks come from the installed fonts of
    :data:`CJK_FONTS`.

    Args:
        figure: Figure to draw; its texts are given these fonts too.
        dpi: Pixels an inch.

    Returns:
        Content of the file, which also states the resolution.
    """
    installed = set(fontManager.get_font_names())
    fallback = [name for name in CJK_FONTS if name in installed]
    for text in figure.findobj(Text):
        text.set_fontfamily([*text.get_fontfamily(), *fallback])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def new_figure(width: float, height: float, colors: Theme) -> Figure:
    """Begin a figure whose parts are placed by matplotlib.

    Args:
        width: Width in inches.
        height: Height in inches.
        colors: Theme, which gives the colour of the ground.

    Returns:
        The empty figure.
    """
    return Figure(
        figsize=(width, height), layout="constrained", facecolor=colors.background
    )


def add_axes(
    figure: Figure, left: float, bottom: float, width: float, height: float
) -> Axes:
    """Add axes to a figure, at a place of one's own.

    Args:
        figure: Figure to add to.
        left: Distance from the figure's left edge, in inches.
        bottom: Distance from the figure's lower edge, in inches.
        width: Width in inches.
        height: Height in inches.

    Returns:
        The axes.
    """
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def style_axes(axes: Axes, colors: Theme) -> None:
    """Set the theme's colours, and leave out what is not needed.

    Args:
        axes: Axes to change.
        colors: Theme of the figure.
    """
    axes.set_facecolor(colors.background)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=colors.line, linewidth=0.6)
    axes.tick_params(
        colors=colors.muted, labelcolor=colors.muted, labelsize=8, length=2
    )
    axes.tick_params(axis="both", which="minor", length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_edgecolor(colors.line)


def name_axis(axis: Axis, names: Sequence[str], rotation: float = 0) -> None:
    """Label an axis with the names of classes, as small as their number demands.

    Args:
        axis: The axis, with the classes at 0, 1, 2, ….
        names: The names, which are cut by :func:`short_name`.
        rotation: Rotation of the names in degrees. Defaults to 0.
    """
    size = 8 if len(names) <= 60 else 6
    axis.set_ticks(
        range(len(names)),
        [short_name(name) for name in names],
        fontsize=size,
        parse_math=False,
        rotation=rotation,
    )


def short_name(name: str) -> str:
    """Cut a name that is too long for a figure.

    Args:
        name: Name of a class.

    Returns:
        At most 24 characters, with … for what was cut off.
    """
    name = str(name)
    return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "…"
