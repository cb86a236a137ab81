"""Text of unknown origin: what of it is refused, and how it is shown."""

import re

# Characters of a class name; far more than a text tower reads.
LONGEST_NAME = 1000
# Line breaks and control characters (an escape sequence moves a terminal's cursor),
# marks that turn the direction of writing, and halves of characters, which cannot be
# written as UTF-8.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def check_plain_text(text: str, place: str, limit: int) -> None:
    r"""Refuse what would spoil a line of a log, a table or a terminal.

    Args:
        text (str): A class name or a path.
        place (str): What it is and where it stands, for the message.
        limit (int): Most characters.

    Raises:
        ValueError: It has a line break, a control character or half a character in it,
            or more than ``limit`` characters.

    Examples:
        >>> check_plain_text("dog\x1b[2J", "classes.txt, line 3: the name", 100)
        Traceback (most recent call last):
        ...
        ValueError: classes.txt, line 3: the name 'dog\x1b[2J' has the control ...
    """
    if len(text) > limit:
        raise ValueError(f"{place} {shown(text)} is longer than {limit:,} characters.")
    if found := _CONTROL.search(text):
        raise ValueError(
            f"{place} {shown(text)} has the control character {found[0]!r} in it: "
            "expected one line of plain text."
        )


def shown(value: object, limit: int = 200) -> str:
    """Write a value into an error message: escaped as by ``repr``, and not whole.

    Args:
        value (object): What was found.
        limit (int): Most characters of it. Defaults to 200.

    Returns:
        str: One line.
    """
    text = repr(value)
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({len(text):,} characters)"


def visible(text: str) -> str:
    r"""Write control characters as ``\x1b``, line breaks excepted.

    Args:
        text (str): To be printed.

    Returns:
        str: Without any that a terminal acts upon.
    """
    return _CONTROL.sub(lambda c: c[0] if c[0] == "\n" else ascii(c[0])[1:-1], text)
