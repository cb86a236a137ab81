#!/usr/bin/env python
"""Draw the method's figure: ``python docs/figures/draw_method.py``.

Writes ``method_light.svg`` and ``method_dark.svg`` beside this file, with the standard
library alone. Each box names the file that holds it, below ``capnet_mm/models``.
"""

from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

FOLDER = Path(__file__).resolve().parent
WIDTH, HEIGHT = 1060, 490
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
MONO = "ui-monospace, 'SF Mono', Menlo, 'DejaVu Sans Mono', monospace"

# Colours: fill, border and text of each kind of box; the page; arrows and captions.
THEMES = {
    "light": dict(
        trained=("#ffe3d1", "#c2570c", "#3d1a02"),
        frozen=("#dcebfa", "#2f6fab", "#0c2a47"),
        plain=("#ffffff", "#8b949e", "#1f2328"),
        page="#ffffff",
        line="#57606a",
        text="#1f2328",
        muted="#57606a",
    ),
    "dark": dict(
        trained=("#4a2408", "#f0883e", "#ffe2cc"),
        frozen=("#12304d", "#58a6ff", "#d7e9ff"),
        plain=("#161b22", "#8b949e", "#e6edf3"),
        page="#0d1117",
        line="#9aa4af",
        text="#e6edf3",
        muted="#9aa4af",
    ),
}


class Box(NamedTuple):
    """A part of the method.

    Args:
        x (int): Left edge.
        y (int): Upper edge.
        width (int): In pixels, as all lengths here.
        height (int): Of the box.
        kind (str): ``trained``, ``frozen`` or ``plain``.
        title (str): What it is.
        lines (tuple[str]): What it does, one line each.
        file (str): Where it is; empty for an input.
    """

    x: int
    y: int
    width: int
    height: int
    kind: str
    title: str
    lines: tuple[str, ...] = ()
    file: str = ""


IMAGE_ENCODER = "image encoder of CLIP"
BOXES = (
    Box(20, 50, 130, 70, "plain", "image"),
    Box(180, 35, 345, 100, "frozen", IMAGE_ENCODER, (), "clip_backbone.py"),
    Box(
        225, 64, 255, 44, "trained", "AdaptFormer in every block", (), "adapt_former.py"
    ),
    Box(20, 195, 130, 70, "plain", "class names", ("e.g. “dining table”",)),
    Box(
        180,
        185,
        150,
        90,
        "trained",
        "soft prompts",
        ("v₁ … v_M name .",),
        "soft_prompt.py",
    ),
    Box(365, 185, 160, 90, "frozen", "text encoder", ("of CLIP",), "text_encoder.py"),
    Box(20, 340, 130, 70, "plain", "class names", ("“a photo of a …”",)),
    Box(
        180,
        330,
        150,
        90,
        "frozen",
        "text encoder",
        ("of CLIP, the same",),
        "text_encoder.py",
    ),
    Box(
        365,
        330,
        160,
        90,
        "plain",
        "label graph A",
        ("computed once",),
        "label_graph.py",
    ),
    Box(565, 330, 150, 90, "trained", "GCN", ("three layers",), "gcn.py"),
    Box(
        790,
        95,
        250,
        120,
        "trained",
        "cos(v, z) / τ + b",
        ("logits (B × C)", "τ and b are trained"),
        "correlation_prompt_head.py",
    ),
    Box(
        830,
        255,
        210,
        70,
        "plain",
        "training: DB-focal loss",
        ("by the class counts",),
        "db_focal_loss.py",
    ),
    Box(
        830,
        350,
        210,
        70,
        "plain",
        "test: mean over views",
        ("of their logits",),
        "test_time_ensemble.py",
    ),
)
SUM = (640, 230)  # centre of the circle where the residual is added

# Points of each arrow.
ARROWS = (
    ((150, 85), (180, 85)),
    ((525, 85), (755, 85), (755, 130), (790, 130)),
    ((150, 230), (180, 230)),
    ((330, 230), (365, 230)),
    ((525, 230), (622, 230)),
    ((658, 230), (755, 230), (755, 180), (790, 180)),
    ((590, 230), (590, 330)),
    ((150, 375), (180, 375)),
    ((330, 375), (365, 375)),
    ((525, 375), (565, 375)),
    ((640, 330), (640, 248)),
    ((810, 215), (810, 290), (830, 290)),
    ((810, 215), (810, 385), (830, 385)),
)
# What the arrows carry: place and words.
CAPTIONS = (
    (640, 76, "v (B × d)"),
    (558, 221, "F (C × d)"),
    (673, 296, "residual"),
    (706, 221, "z (C × d)"),
    (545, 366, "A"),
)
KEY = (("trained", "trained"), ("frozen", "frozen, from CLIP"), ("plain", "no weights"))


def text(x: float, y: float, words: str, fill: str, size: int, extra: str = "") -> str:
    """One line of text, centred at x."""
    return (
        f'<text x="{x}" y="{y}" fill="{fill}" font-size="{size}" '
        f'text-anchor="middle" {extra}>{escape(words)}</text>'
    )


def draw_box(box: Box, theme: dict) -> list[str]:
    """A box with its title, lines and file."""
    fill, border, ink = theme[box.kind]
    parts = [
        f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" '
        f'rx="8" fill="{fill}" stroke="{border}" stroke-width="1.5"/>'
    ]
    rows = [(box.title, 15, 'font-weight="600"')]
    rows += [(line, 13, "") for line in box.lines]
    if box.file:
        rows.append((box.file, 11, f'font-family="{MONO}"'))
    # The adapter stands between the encoder's title and file.
    step = 66 if box.title == IMAGE_ENCODER else 18
    y = box.y + box.height / 2 - step * (len(rows) - 1) / 2 + 5
    for words, size, extra in rows:
        parts.append(text(box.x + box.width / 2, y, words, ink, size, extra))
        y += step
    return parts


def draw_key(theme: dict) -> list[str]:
    """What the colours say."""
    parts, x = [], 20
    for kind, words in KEY:
        fill, border, _ = theme[kind]
        parts.append(
            f'<rect x="{x}" y="452" width="22" height="16" rx="4" fill="{fill}" '
            f'stroke="{border}" stroke-width="1.5"/>'
        )
        parts.append(
            f'<text x="{x + 30}" y="465" fill="{theme["text"]}" font-size="13">'
            f"{escape(words)}</text>"
        )
        x += 62 + 7 * len(words)
    return parts


def draw(theme: dict) -> str:
    """The whole figure as SVG."""
    line, page = theme["line"], theme["page"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-family="{FONT}" role="img" '
        'aria-labelledby="title">',
        '<title id="title">CAPNET: image branch, prompt branch and label graph</title>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="{line}"/>'
        "</marker></defs>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="10" fill="{page}"/>',
    ]
    for points in ARROWS:
        path = " ".join(f"{x},{y}" for x, y in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{line}" '
            'stroke-width="1.6" marker-end="url(#tip)"/>'
        )
    x, y = SUM
    parts.append(
        f'<circle cx="{x}" cy="{y}" r="18" fill="{page}" stroke="{line}" '
        'stroke-width="1.6"/>'
    )
    parts.append(text(x, y + 7, "+", theme["text"], 20))
    parts.append(text(x, y - 26, "unit length", theme["muted"], 13))
    for box in BOXES:
        parts += draw_box(box, theme)
    for x, y, words in CAPTIONS:
        parts.append(text(x, y, words, theme["muted"], 13))
    return "\n".join([*parts, *draw_key(theme), "</svg>\n"])


def main() -> None:
    """Write both files."""
    for name, theme in THEMES.items():
        path = FOLDER / f"method_{name}.svg"
        path.write_text(draw(theme), encoding="utf-8")
        print(f"written: {path}")


if __name__ == "__main__":
    main()
