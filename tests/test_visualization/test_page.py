"""The page: one file, everything in it, nothing let through unescaped."""

import base64
import io
from html.parser import HTMLParser

import pytest
from PIL import Image

from capnet_mm.tables import Strong, Table
from capnet_mm.visualization import (
    THEMES,
    PageFigure,
    Section,
    render_page,
    write_page,
)

NASTY = "<b>&\"'<script>alert(1)</script>"
VOID = {"meta", "img", "source", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Collects tags and texts, and sees that tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def attributes(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def text_of(self, tag):
        return [text for name, text in self.texts if name == tag]


def png(color, size=(20, 10), **options):
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG", **options)
    return buffer.getvalue()


def decode(address):
    kind, content = address.split(",", 1)
    assert kind == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")


def test_all_text_reaches_the_reader_as_it_was_written():
    figure = PageFigure(png("red"), None, NASTY)
    table = Table((NASTY, "n"), [(NASTY, "1")], NASTY)
    section = Section(NASTY, f"{NASTY}\n\nsecond", tables=[table], figures=[figure])
    page = Page(render_page(NASTY, [section], lead=NASTY))
    assert "script" not in [tag for tag, _ in page.tags]
    assert "b" not in [tag for tag, _ in page.tags]
    for tag, number in dict(title=1, h1=1, h2=1, th=2, figcaption=2).items():
        assert page.text_of(tag).count(NASTY) == number, tag
    assert page.text_of("p") == [NASTY, NASTY, "second"]
    assert page.attributes("img")[0]["alt"] == NASTY


def test_nothing_is_loaded_from_elsewhere_and_no_script_is_needed():
    text = render_page("t", [Section("s", figures=[PageFigure(png(1), png(2), "c")])])
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "form"} & {
        t for t, _ in page.tags
    }
    for _, attributes in page.tags:
        for name in ("src", "srcset", "href", "action", "data"):
            assert attributes.get(name, "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
    style = "".join(page.text_of("style"))
    assert "url(" not in style and "@import" not in style
    assert "http" not in text.replace("http-equiv", "")


def test_figures_of_both_themes_are_embedded_whole():
    figures = [
        PageFigure(png("red"), png("blue"), "both"),
        PageFigure(png("lime"), None, ""),
    ]
    page = Page(render_page("t", [Section("s", figures=figures)]))
    colors = [decode(image["src"]).getpixel((5, 5)) for image in page.attributes("img")]
    assert colors == [(255, 0, 0), (0, 255, 0)]
    (dark,) = page.attributes("source")
    assert dark["media"] == "(prefers-color-scheme: dark)"
    assert decode(dark["srcset"]).getpixel((5, 5)) == (0, 0, 255)
    assert page.text_of("figcaption") == ["both"]


def test_a_figure_can_be_a_file_and_is_shown_in_its_physical_size(tmp_path):
    (tmp_path / "a.png").write_bytes(png("red", (300, 150), dpi=(192, 192)))
    figure = PageFigure(tmp_path / "a.png", None, "c")
    page = Page(render_page("t", [Section("s", figures=[figure])]))
    (image,) = page.attributes("img")
    assert (image["width"], image["height"]) == ("150", "75")  # 96 to the inch


def test_lines_do_not_break_inside_a_deviation():
    table = Table(("", "mAP"), [("dog", "12.5 ± 0.1")])
    page = Page(render_page("t", [Section("s", tables=[table])]))
    assert page.text_of("td") == ["12.5 ±\N{NO-BREAK SPACE}0.1"]


def test_tables_keep_rows_and_cells_in_order():
    rows = [("dog", "12.50", "3"), ("cat", "–", "1,000")]
    page = Page(render_page("t", [Section("s", tables=[Table(("", "AP", "n"), rows)])]))
    assert page.text_of("td") == ["12.50", "3", "–", "1,000"]
    cells = [text for text in page.text_of("th")]
    assert cells == ["AP", "n", "dog", "cat"]


def test_columns_stand_on_the_side_that_the_table_says_and_strong_cells_are_bold():
    table = Table(("a", "b", "c"), [("x", "y", Strong("<z>"))], align="lrl")
    page = Page(render_page("t", [Section("s", tables=[table])]))
    cells = [cell.get("class") for tag, cell in page.tags if tag in ("th", "td")]
    assert cells == 2 * ["left", None, "left"]
    assert page.text_of("strong") == ["<z>"]
    assert ".left { text-align: left; }" in page.text_of("style")[0]


def test_both_themes_are_in_the_style():
    style = "".join(Page(render_page("t", [])).text_of("style"))
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    assert f"--background: {THEMES['light'].background};" in light
    assert f"--background: {THEMES['dark'].background};" in dark


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "a.html"
    write_page(path, "old", [])
    old = path.read_text()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_page(path, "new", [])
    assert path.read_text() == old
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.html"]


def test_a_figure_that_is_no_png_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("<svg/>")
    for source in (tmp_path / "a.png", b"<svg/>"):
        section = Section("s", figures=[PageFigure(source, None, "")])
        with pytest.raises(ValueError, match="is no PNG"):
            render_page("t", [section])
