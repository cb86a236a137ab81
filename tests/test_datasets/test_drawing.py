"""Drawn images."""

import numpy as np

from capnet_mm.datasets.shapes import (
    Kind,
    draw_scene,
    fade,
)


def test_colour_texture_and_shape_are_what_the_name_says():
    """Looked at in the middle of the object: mean colour, and how uneven it is."""

    def patch(name, seed):
        image = draw_scene([Kind(*name.split())], np.random.default_rng(seed))
        saturation = image.max(2).astype(int) - image.min(2)
        return image[saturation > 110]

    for seed in range(5):
        red, blue = (patch(f"plain {c} square", seed).mean(0) for c in ("red", "blue"))
        assert red[0] > 2 * max(red[1:]) and blue[2] > 1.3 * max(blue[:2])
        plain = patch("plain red circle", seed).std(0).max()
        assert patch("striped red circle", seed).std(0).max() > plain
        full = len(patch("plain red circle", seed))
        assert 0.5 * full < len(patch("plain red ring", seed)) < full


def test_fading_warms_and_mixes_but_keeps_images_apart():
    colors = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype=np.uint8)
    faded = fade(colors)
    assert faded.dtype == np.uint8 and faded.shape == colors.shape
    grey = fade(np.full((1, 1, 3), 128, dtype=np.uint8))[0, 0]
    assert grey[0] > grey[1] > grey[2]
    assert np.linalg.matrix_rank(faded[0].astype(float)) == 3
