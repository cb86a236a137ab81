"""Tables, written as plain text, Markdown or to the terminal from the same cells."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from .plain_text import visible

# What Markdown would read as more than a character: an underscore inside a word and
# an ampersand that begins no entity are none of it.
_MARKDOWN_SIGNS = re.compile(r"[\\`*<\[|~]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)")
# Characters; far more than a line has. Rich would fold a line at the width of the
# terminal, or at 80 where there is none.
_NEVER_FOLD = 1_000_000


class Strong(str):
    """Text of a cell that is set in bold."""


@dataclass(frozen=True)
class Table:
    r"""Cells in columns and rows.

    Cells are shown as they are: no markup in them is interpreted, and what a terminal
    would act upon is written as ``\x1b``. ``'\n'`` breaks the line within a cell.

    Attributes:
        header: Names of the columns.
        rows: Texts of the cells; a :class:`Strong` text is bold where the output
            format knows bold.
        caption: What the table shows. Defaults to '': nothing.
        align: Side of each column, ``'l'`` or ``'r'``, e.g. ``'lrr'``. Defaults to
            '': the first column left, the others right, as numbers are read.

    Raises:
        ValueError: A row has not as many cells as the header, or ``align`` not one
            side for each column.

    Examples:
        >>> table = Table(("class", "AP"), [("dog", "81.20"), ("cow", "7.50")])
        >>> print(table.to_text())
        class     AP
        dog    81.20
        cow     7.50
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    align: str = ""

    def __post_init__(self) -> None:
        columns = len(self.header)
        for row in self.rows:
            if len(row) != columns:
                raise ValueError(
                    f"The table has {columns} columns {tuple(self.header)}, "
                    f"but a row has {len(row)} cells: {tuple(row)}."
                )
        if self.align and not re.fullmatch(f"[lr]{{{columns}}}", self.align):
            raise ValueError(
                f"align={self.align!r}: expected 'l' or 'r' for each of the "
                f"{columns} columns {tuple(self.header)}."
            )

    def is_left(self, column: int) -> bool:
        """Whether a column is aligned to the left.

        Args:
            column: Index of the column.

        Returns:
            True for left, False for right.
        """
        return self.align[column] == "l" if self.align else column == 0

    def to_text(self) -> str:
        """Write the table for logs.

        Returns:
            Header, rows and caption, a line each, without colour. Lines are never
            folded; letters that take two places, as Chinese ones do, count as two.
        """
        console = Console(
            file=io.StringIO(),
            width=_NEVER_FOLD,
            color_system=None,
            force_terminal=False,
            force_jupyter=False,
        )
        console.print(self._as_rich(box=None, pad_edge=False, padding=(0, 2, 0, 0)))
        lines = console.file.getvalue().splitlines()
        if self.caption:
            lines.append(self.caption)
        return "\n".join(line.rstrip() for line in lines)

    def to_markdown(self) -> str:
        """Write the table in Markdown (of GitHub's kind, which has tables).

        Returns:
            Lines of the table and, below an empty line, the caption; with a line
            break at the end.
        """
        rule = ["---" if self.is_left(i) else "---:" for i in range(len(self.header))]
        lines = [map(_markdown, self.header), rule]
        lines += [map(_markdown, row) for row in self.rows]
        text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        return f"{text}\n{_markdown(self.caption)}\n" if self.caption else text

    def print(self) -> None:
        """Print the table: framed and with bold cells on a terminal, else as text."""
        console = Console()
        if not console.is_terminal:
            print(self.to_text())
            return
        console.print(self._as_rich(box=box.HEAVY_HEAD))
        if self.caption:
            console.print(Text(self.caption))

    def _as_rich(self, **options) -> RichTable:
        table = RichTable(**options)
        for index, name in enumerate(self.header):
            is_left = self.is_left(index)
            table.add_column(
                Text(visible(name)),
                justify="left" if is_left else "right",
                # Where a terminal is too narrow, names are folded and figures stay.
                no_wrap=not is_left,
                overflow="fold",
            )
        for row in self.rows:
            table.add_row(*map(_rich_text, row))
        return table


def _rich_text(cell: str) -> Text:
    style = "bold" if isinstance(cell, Strong) else ""
    return Text(visible(str(cell)), style=style)


def _markdown(cell: str) -> str:
    text = _MARKDOWN_SIGNS.sub(r"\\\g<0>", str(cell)).replace("\n", "<br>")
    return f"**{text}**" if isinstance(cell, Strong) else text
