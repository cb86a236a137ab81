"""A report as one HTML file that needs nothing beside it."""

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from capnet_mm.fileio import replace_files

from .theme import THEMES, Theme

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS_PER_INCH = 96  # of CSS
# A picture wider than this would be unreadable if a telephone shrank it: there it
# keeps this width (in CSS pixels) and scrolls within its frame.
_READABLE_WIDTH = 640


class Strong(str):
    """Text of a cell that is set in bold."""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        header: Names of the columns.
        rows: Texts of the cells. The first column is set left, the others right,
            with figures of equal width.
        caption: What it shows.

    Raises:
        ValueError: A row has not as many cells as the header.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(
                    f"The table has {len(self.header)} columns {tuple(self.header)}, "
                    f"but a row has {len(row)} cells: {tuple(row)}."
                )


@dataclass(frozen=True)
class Picture:
    """A picture, in the colours of both themes.

    It is shown as large as its resolution says (96 pixels an inch if it says none),
    at most as wide as the page.

    Attributes:
        light: PNG file, or its content.
        dark: The same for dark ground. None: the light one serves.
        caption: What it shows; also its text for those who do not see it.
    """

    light: Path | bytes
    dark: Path | bytes | None
    caption: str


@dataclass(frozen=True)
class Section:
    """A heading with what belongs under it.

    Attributes:
        title: The heading.
        text: Plain text; an empty line starts a new paragraph.
        tables: Shown after the text.
        pictures: Shown after the tables.
    """

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


def write_page(
    path: str | Path, title: str, sections: Sequence[Section], lead: str = ""
) -> None:
    """Write a report; see :func:`render_page`.

    What is at ``path`` is the old file or the whole new one, never a part.

    Args:
        path: The HTML file; its folder must be there.
        title: Title of the page.
        sections: What it shows.
        lead: Plain text before the first section.
    """
    page = render_page(title, sections, lead)
    replace_files({Path(path): page.encode()})


def render_page(title: str, sections: Sequence[Section], lead: str = "") -> str:
    """Compose a report: one file, no script, nothing loaded from elsewhere.

    The colours follow the reader's system, light or dark. All text is escaped.

    Args:
        title: Title of the page.
        sections: What it shows.
        lead: Plain text before the first section.

    Returns:
        The HTML document.

    Raises:
        FileNotFoundError: The file of a picture is missing.
        ValueError: A picture is no PNG.
    """
    body = "\n".join(_section(section) for section in sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
img-src data:; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{_style()}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
{_paragraphs(lead)}
</header>
<main>
{body}
</main>
</body>
</html>
"""


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>", _paragraphs(section.text)]
    parts += [_table(table) for table in section.tables]
    parts += [_picture(picture) for picture in section.pictures]
    return "<section>\n" + "\n".join(part for part in parts if part) + "\n</section>"


def _paragraphs(text: str) -> str:
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text)]
    return "\n".join(f"<p>{escape(part)}</p>" for part in paragraphs if part)


def _table(table: Table) -> str:
    header = "".join(
        f'<th scope="col">{escape(str(cell))}</th>' for cell in table.header
    )
    rows = "\n".join(_row(row) for row in table.rows)
    return f"""<figure>
{_caption(table.caption)}<div class="frame" tabindex="0"><table>
<thead><tr>{header}</tr></thead>
<tbody>
{rows}
</tbody>
</table></div>
</figure>"""


def _row(row: Sequence[str]) -> str:
    first, *others = map(_cell, row)
    cells = "".join(f"<td>{cell}</td>" for cell in others)
    return f'<tr><th scope="row">{first}</th>{cells}</tr>'


def _cell(cell: str) -> str:
    # Where a narrow screen breaks the line, a deviation stays in one piece.
    text = escape(str(cell)).replace("± ", "±&nbsp;")
    return f"<strong>{text}</strong>" if isinstance(cell, Strong) else text


def _picture(picture: Picture) -> str:
    light = _read_png(picture.light)
    width, height = _png_size(light)
    frame = "frame wide" if width > _READABLE_WIDTH else "frame"
    source = ""
    if picture.dark is not None:
        dark = _data_address(_read_png(picture.dark))
        source = f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
    return f"""<figure>
<div class="{frame}" tabindex="0"><picture>{source}<img src="{_data_address(light)}" \
width="{width}" height="{height}" alt="{escape(picture.caption)}"></picture></div>
{_caption(picture.caption)}</figure>"""


def _caption(text: str) -> str:
    return f"<figcaption>{escape(text)}</figcaption>\n" if text else ""


def _read_png(source: Path | bytes) -> bytes:
    is_content = isinstance(source, bytes)
    content = source if is_content else Path(source).read_bytes()
    if not content.startswith(_PNG_SIGNATURE):
        name = f"of {len(content)} bytes" if is_content else source
        raise ValueError(f"The picture {name} is no PNG, which a page needs.")
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


def _style() -> str:
    return f"""
:root {{ color-scheme: light dark; {_variables(THEMES["light"])} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_variables(THEMES["dark"])} }} }}
* {{ box-sizing: border-box; }}
body {{
  margin: 0 auto; max-width: 70rem; padding: 2.5rem 1.5rem 4rem;
  background: var(--background); color: var(--text);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  overflow-wrap: break-word;
}}
h1 {{ margin: 0 0 .5rem; font-size: 1.75rem; line-height: 1.2; font-weight: 650; }}
h2 {{ margin: 0 0 .75rem; font-size: 1.2rem; line-height: 1.3; font-weight: 650; }}
p {{ margin: 0 0 .75rem; max-width: 46rem; }}
header p, figcaption {{ color: var(--muted); }}
section {{
  margin-top: 2.25rem; padding-top: 1.5rem; border-top: 1px solid var(--line);
}}
figure {{ margin: 1rem 0 1.75rem; }}
figcaption {{ max-width: 46rem; margin: .5rem 0; font-size: .875rem; }}
.frame {{ overflow-x: auto; }}
.frame:focus-visible {{ outline: 2px solid var(--accent); }}
img {{ display: block; max-width: 100%; height: auto; }}
table {{ border-collapse: collapse; font-size: .9rem; line-height: 1.35; }}
th, td {{
  padding: .35rem .9rem; text-align: right; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; white-space: nowrap;
}}
th:first-child {{ padding-left: .2rem; text-align: left; }}
tbody th {{ font-weight: 400; }}
thead th {{ color: var(--muted); font-weight: 600; }}
tbody tr:hover {{ background: var(--surface); }}
@media (max-width: 40rem) {{
  body {{ padding: 1.25rem 1rem 2.5rem; }}
  h1 {{ font-size: 1.4rem; }}
  th, td {{ padding: .35rem .4rem; }}
  tbody th, td {{ white-space: normal; }}
  .wide img {{ max-width: none; width: {_READABLE_WIDTH}px; }}
}}
@media print {{
  body {{ max-width: none; padding: 0; }}
  figure {{ break-inside: avoid; }}
}}
"""


def _variables(theme: Theme) -> str:
    colors = {name: c for name, c in vars(theme).items() if isinstance(c, str)}
    return " ".join(f"--{name}: {color};" for name, color in colors.items())
