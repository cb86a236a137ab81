"""Colours of figures and pages, stated once."""

from dataclasses import dataclass

# Colours of the frequency groups that stay apart for colour-blind readers (Okabe and
# Ito); on light and on dark ground.
GROUP_COLORS = dict(head="#0072b2", medium="#e69f00", tail="#d55e00")


@dataclass(frozen=True)
class Theme:
    """Colours of ground, text and lines.

    Attributes:
        background: Ground behind everything.
        surface: Ground of what is set off, such as captions of tables.
        text: Ordinary text.
        muted: Text that steps back: captions, axis labels.
        line: Grids, axes, rules.
        accent: Bars and lines that belong to no group.
        correct: Predictions that are right (from the palette of the groups, too).
        false: Predictions that are wrong.
        missed: Labels that were not predicted; figures add symbols to these colours.
        ramp: Colours of heat maps, from low to high; begins with the background.
    """

    background: str
    surface: str
    text: str
    muted: str
    line: str
    accent: str
    correct: str
    false: str
    missed: str
    ramp: tuple[str, ...]


THEMES = dict(
    light=Theme(
        background="#ffffff",
        surface="#f5f6f7",
        text="#1b1f24",
        muted="#57606a",
        line="#d5dae0",
        accent="#0072b2",
        correct="#009e73",
        false="#d55e00",
        missed="#0072b2",
        ramp=("#ffffff", "#cfe3f2", "#6aaed6", "#0072b2", "#08305c"),
    ),
    dark=Theme(
        background="#14171c",
        surface="#1d2128",
        text="#e7eaee",
        muted="#a0a9b4",
        line="#3a414b",
        accent="#4aa3df",
        correct="#2cc295",
        false="#f58545",
        missed="#56b4e9",
        ramp=("#14171c", "#17354d", "#1c6ba0", "#4aa3df", "#e3f2fd"),
    ),
)


def get_theme(name: str) -> Theme:
    """Look up a theme.

    Args:
        name: 'light' or 'dark'.

    Returns:
        The colours of the theme.

    Raises:
        ValueError: There is no such theme.
    """
    if name not in THEMES:
        raise ValueError(f"theme={name!r}: expected one of {sorted(THEMES)}.")
    return THEMES[name]
