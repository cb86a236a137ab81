"""A report as one HTML file that needs nothing beside it."""

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from capnet_mm.fileio import replace_files
from capnet_mm.tables import Strong, Table

from .theme import THEMES, Theme

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS_PER_INCH = 96  # of CSS
# A figure wider than this would be unreadable if a telephone shrank it: there it
# keeps this width (in CSS pixels) and scrolls within its frame.
_READABLE_WIDTH = 640


@dataclass(frozen=True)
class PageFigure:
    """A figure, in the colours of both themes.

    The figure is shown as large as its resolution says (96 pixels an inch without
    one), at most as wide as the page.

    Attributes:
        light: PNG file, or its content.
        dark: PNG file for dark ground, or its content; None: the light one serves.
        caption: Text below the figure; also read out to those who do not see it.
    """

    light: Path | bytes
    dark: Path | bytes | None
    caption: str


@dataclass(frozen=True)
class Section:
    """A heading with text, tables and figures under it.

    Attributes:
        title: The heading.
        text: Plain text; an empty line starts a new paragraph.
        tables: Shown after the text.
        figures: Shown after the tables.
        folded: What the tables are, which the reader unfolds. Empty: they are shown.
    """

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[PageFigure] = ()
    folded: str = ""


def write_page(
    path: str | Path, title: str, sections: Sequence[Section], lead: str = ""
) -> None:
    """Write a report; see :func:`render_page`.

    ``path`` holds the old file or the whole new one, never a part.

    Args:
        path: The HTML file; its folder must be there.
        title: Title of the page.
        sections: Sections of the page.
        lead: Plain text before the first section.
    """
    page = render_page(title, sections, lead)
    replace_files({Path(path): page.encode()})


def render_page(title: str, sections: Sequence[Section], lead: str = "") -> str:
    """Compose a report: one file, no script, nothing loaded from elsewhere.

    The colours follow the reader's system, light or dark. All text is escaped. The
    files ``page.html.jinja`` and ``page.css`` beside this module give the form.

    Args:
        title: Title of the page.
        sections: Sections of the page.
        lead: Plain text before the first section.

    Returns:
        The HTML document.

    Raises:
        FileNotFoundError: The file of a figure is missing.
        ValueError: A figure is no PNG.
    """
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            title=title,
            lead=lead,
            sections=sections,
            light=_colors(THEMES["light"]),
            dark=_colors(THEMES["dark"]),
            readable_width=_READABLE_WIDTH,
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,  # a name that is not there is an error
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(paragraphs=_paragraphs, embedded=_embedded)
    environment.tests["strong"] = lambda cell: isinstance(cell, Strong)
    return environment


def _paragraphs(text: str) -> list[str]:
    parts = [part.strip() for part in re.split(r"\n\s*\n", text)]
    return [part for part in parts if part]


def _embedded(figure: PageFigure) -> dict:
    """Addresses that hold the figures, and their size in CSS pixels."""
    light = _read_png(figure.light)
    width, height = _png_size(light)
    dark = None if figure.dark is None else _data_address(_read_png(figure.dark))
    return dict(
        light=_data_address(light),
        dark=dark,
        width=width,
        height=height,
        caption=figure.caption,
    )


def _read_png(source: Path | bytes) -> bytes:
    is_content = isinstance(source, bytes)
    content = source if is_content else Path(source).read_bytes()
    if not content.startswith(_PNG_SIGNATURE):
        name = f"of {len(content)} bytes" if is_content else source
        raise ValueError(f"The figure {name} is no PNG, which a page needs.")
    return content


def _png_size(content: bytes) -> tuple[int, int]:
    """Width and height in CSS pixels, from size and resolution."""
    with Image.open(io.BytesIO(content)) as image:
        dpi = image.info.get("dpi", (_PIXELS_PER_INCH, _PIXELS_PER_INCH))
        return tuple(
            round(pixels * _PIXELS_PER_INCH / resolution)
            for pixels, resolution in zip(image.size, dpi, strict=True)
        )


def _data_address(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _colors(theme: Theme) -> dict[str, str]:
    return {
        name: color for name, color in vars(theme).items() if isinstance(color, str)
    }
