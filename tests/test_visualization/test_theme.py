"""Colours: readable on their ground, and an unknown theme is named."""

import numpy as np
import pytest

from capnet_mm.visualization import THEMES, get_theme


def contrast(one, other):
    """As the Web Content Accessibility Guidelines define it."""

    def luminance(color):
        channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        low = channels <= 0.04045
        linear = np.where(low, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return linear @ (0.2126, 0.7152, 0.0722)

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_text_can_be_read_on_its_ground(theme):
    colors = THEMES[theme]
    for text in (colors.text, colors.muted):
        for ground in (colors.background, colors.surface):
            assert contrast(text, ground) >= 4.5


def test_an_unknown_theme_is_named():
    with pytest.raises(ValueError, match="theme='red': expected .*'dark', 'light'"):
        get_theme("red")
