"""Tables: the same cells as text, as Markdown and on a terminal, none interpreted."""

import unicodedata
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from capnet_mm.tables import Strong, Table

NASTY = [
    "[bold]dog[/bold] [red]",
    ":smile: [/]",
    "a|b",
    "*a* _b_ __c__ ~~d~~",
    "`code` \\* [x](y)",
    "<b>bold</b> &amp; &#65; R&D",
    "train_step_2 < 3",
]


def places(text):
    """How many places of a terminal a text takes (Unicode Standard Annex 11)."""
    return sum(1 + (unicodedata.east_asian_width(sign) in "WF") for sign in text)


class Cells(HTMLParser):
    """Texts of the cells of an HTML table, their alignment, and which are bold."""

    def __init__(self, html):
        super().__init__()
        self.texts, self.styles, self.bold = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        if tag in ("th", "td"):
            self.texts.append("")
            self.styles.append(dict(attributes).get("style", ""))
        elif tag == "strong":
            self.bold.append(len(self.texts) - 1)
        elif tag == "br":
            self.texts[-1] += "\n"
        else:
            assert tag in ("table", "thead", "tbody", "tr", "p"), tag

    def handle_data(self, data):
        if self.texts:
            self.texts[-1] += data.strip("\n")


def read_markdown(text):
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    return Cells(parser.render(text))


def test_columns_of_text_begin_and_end_at_the_same_place_with_wide_letters_too():
    names = ["dog", "猫の子", "한국어", "Ｆｕｌｌ", "é"]
    rows = [(name, str(10**i), "x" * i) for i, name in enumerate(names)]
    table = Table(("class", "n", "group"), rows, align="lrl")
    lines = table.to_text().splitlines()
    assert len(lines) == 1 + len(names)
    widest = max(map(places, ["class", *names]))
    for line, (name, number, group) in zip(lines[1:], rows, strict=True):
        padding = " " * (widest - places(name))
        assert line == f"{name}{padding}  {number:>5}  {group}".rstrip()


def test_text_is_neither_coloured_nor_folded_whatever_the_terminal(monkeypatch):
    for name, value in dict(COLUMNS="20", FORCE_COLOR="1", TERM="xterm").items():
        monkeypatch.setenv(name, value)
    long = "a very long name of a class " * 20
    text = Table(("", "AP"), [(long, Strong("1.0"))], "caption " * 50).to_text()
    assert text.splitlines() == [
        " " * len(long) + "   AP",
        f"{long}  1.0",
        ("caption " * 50).rstrip(),
    ]


def test_markup_in_cells_is_text(monkeypatch, capsys):
    rows = [(name, "1") for name in NASTY]
    text = Table(NASTY[:2], rows, NASTY[0]).to_text()
    assert all(name in text for name in NASTY)
    for name, value in dict(COLUMNS="200", FORCE_COLOR="1", TERM="xterm").items():
        monkeypatch.setenv(name, value)
    Table(NASTY[:2], rows, NASTY[0]).print()
    printed = capsys.readouterr().out
    assert all(name in printed for name in NASTY)


def test_markdown_gives_a_reader_the_cells_as_they_are():
    rows = [(name, Strong(name)) for name in [*NASTY, "one\ntwo"]]
    markdown = Table((NASTY[2], "猫"), rows).to_markdown()
    read = read_markdown(markdown)
    assert read.texts == [NASTY[2], "猫", *(cell for row in rows for cell in row)]
    assert read.bold == list(range(3, len(read.texts), 2))
    assert "train_step_2" in markdown  # signs that mean nothing stay bare


def test_markdown_keeps_alignment_and_has_the_caption_below():
    rows = [("a", "b", "c")]
    read = read_markdown(Table(("x", "y", "z"), rows, align="lrl").to_markdown())
    right = "text-align:right"
    assert read.styles == ["", right, "", "", right, ""]
    default = Table(("x", "y", "z"), rows, "What *this* is.").to_markdown()
    assert read_markdown(default).styles == 2 * ["", right, right]
    assert default.splitlines()[-2:] == ["", r"What \*this\* is."]


def test_a_narrow_terminal_folds_names_and_keeps_figures(monkeypatch, capsys):
    table = Table(("", "mAP"), [("x" * 60, Strong("51.4 ± 1.4"))], "the caption")
    for name, value in dict(COLUMNS="40", FORCE_COLOR="1", TERM="xterm").items():
        monkeypatch.setenv(name, value)
    table.print()
    printed = capsys.readouterr().out
    assert "\x1b[1m51.4 ± 1.4\x1b[0m" in printed
    assert printed.count("x") == 60
    assert "the caption" in printed


def test_where_there_is_no_terminal_text_is_printed(monkeypatch, capsys):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    table = Table(("", "mAP"), [("x" * 200, Strong("51.4"))], "the caption")
    table.print()
    assert capsys.readouterr().out == table.to_text() + "\n"


def test_a_row_that_does_not_fit_its_header_is_refused():
    with pytest.raises(ValueError, match=r"2 columns .* 3 cells: \('x', '1', '2'\)"):
        Table(("a", "b"), [("x", "1", "2")])


@pytest.mark.parametrize("align", ["l", "lrr", "lc"])
def test_an_alignment_that_does_not_fit_its_header_is_refused(align):
    with pytest.raises(ValueError, match=f"align='{align}'.*2 columns"):
        Table(("a", "b"), [], align=align)
