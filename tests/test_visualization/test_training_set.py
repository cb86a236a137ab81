"""Figures of a training set."""

import numpy as np
from matplotlib.colors import to_hex

from capnet_mm.visualization import GROUP_COLORS, training_set
from capnet_mm.visualization.training_set import cooccurrence


def test_cooccurrence_is_the_share_of_a_classes_images_with_the_other():
    labels = [[0, 1], [0], [1, 2], [0, 1, 2], []]
    expected = np.zeros((4, 4))
    for c in range(4):
        with_c = [set(image) for image in labels if c in image]
        for k in range(4):
            if with_c:
                expected[c, k] = sum(k in image for image in with_c) / len(with_c)
    np.testing.assert_allclose(cooccurrence(labels, 4), expected)


def test_bars_stand_by_count_in_the_colours_of_their_groups(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(
        training_set, "_save", lambda figure, path, dpi: figures.append(figure)
    )
    metainfo = dict(
        classes=("cat", "dog", "$cow$", "emu"),
        class_counts=(30, 200, 0, 30),
        groups=dict(head=(1,), medium=(0, 3), tail=(2,)),
    )
    training_set.count_plot(metainfo, tmp_path / "counts.png")
    (axis,) = figures[0].axes
    bars = {
        int(bar.get_x() + 0.5): (bar.get_height(), to_hex(bar.get_facecolor()))
        for bar in axis.patches
    }
    colors = {group: to_hex(color) for group, color in GROUP_COLORS.items()}
    assert bars == {
        0: (200, colors["head"]),
        1: (30, colors["medium"]),  # equal counts keep their order
        2: (30, colors["medium"]),
        3: (0, colors["tail"]),
    }
    names = [label.get_text() for label in axis.get_xticklabels()]
    assert names == ["dog", "cat", "emu", "$cow$"]
