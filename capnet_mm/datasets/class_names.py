"""Names of classes: as lists write them, and as people write them in prompts."""

from collections.abc import Sequence
from pathlib import Path

from capnet_mm.plain_text import LONGEST_NAME, check_plain_text, shown

from .list_files import read_text


def readable_name(name: str) -> str:
    """Write a class name with spaces.

    The words stay as they are: for names such as "diningtable", give the names for
    prompts (second column of a classes file, ``prompt_names`` of a metainfo).

    Args:
        name (str): A name as a list of classes has it.

    Returns:
        str: The name with a space for each underscore, or run of them.

    Examples:
        >>> readable_name("traffic_light")
        'traffic light'
    """
    return " ".join(name.replace("_", " ").split())


def check_class_names(names: Sequence[str], source: str) -> tuple[str, ...]:
    """Check a list of class names.

    Args:
        names (Sequence[str]): Names of the classes.
        source (str): Where they come from, for the error message.

    Returns:
        tuple[str, ...]: ``names`` as a tuple.

    Raises:
        ValueError: There is no name, an empty name, a name twice, or one that is no
            line of plain text of up to 1,000 characters.
    """
    if not names:
        raise ValueError(f"No class names in {source}: at least one is needed.")
    first_seen: dict[str, int] = {}
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise ValueError(
                f"Class {index} of {source} has no name (found {shown(name)}): every "
                "class needs a non-empty string."
            )
        check_plain_text(name, f"Class {index} of {source}: the name", LONGEST_NAME)
        if name in first_seen:
            raise ValueError(
                f"Classes {first_seen[name]} and {index} of {source} have the same "
                f"name {name!r}: names must differ."
            )
        first_seen[name] = index
    return tuple(names)


def read_class_names(path: str | Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Read a file of class names.

    One class a line; the number of the line, counted from 0, is the label. After
    a tab may follow the name to use in prompts; without it, prompts have the name
    with spaces for underscores (:func:`readable_name`)::

        person
        diningtable<TAB>dining table
        traffic_light

    Args:
        path (str | Path): The file, in UTF-8.

    Returns:
        tuple[tuple[str, ...], tuple[str, ...]]: The names, and the names for
        prompts, of the C classes.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is empty, a line is empty or has more than two
            columns, a name is there twice, or is no plain text of up to 1,000
            characters; the message names file and line.
    """
    path = Path(path).expanduser()
    hint = (
        "expected a text file with one class name a line (or give the names "
        "themselves: classes=('cat', 'dog', …))."
    )
    text = read_text(path, "classes file", hint).rstrip()
    if not text:
        raise ValueError(f"Classes file {path} is empty: expected one name a line.")

    line_of: dict[str, int] = {}
    prompt_names = []
    for number, line in enumerate(text.split("\n"), start=1):
        name, *rest = (column.strip() for column in line.split("\t"))
        if not name:
            raise ValueError(
                f"{path}, line {number} is empty: the number of the line is the "
                "label, so a name cannot be left out."
            )
        if len(rest) > 1 or rest == [""]:
            raise ValueError(
                f"{path}, line {number}: expected 'name' or "
                f"'name<TAB>name for prompts', got {shown(line)}."
            )
        for each in (name, *rest):
            check_plain_text(each, f"{path}, line {number}: the name", LONGEST_NAME)
        if name in line_of:
            raise ValueError(
                f"{path}, line {number}: class {name!r} is already on line "
                f"{line_of[name]}; names must differ."
            )
        line_of[name] = number
        prompt_names.append(rest[0] if rest else readable_name(name))
    return tuple(line_of), tuple(prompt_names)
