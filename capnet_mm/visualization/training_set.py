"""Figures of a training set: augmented samples, counts, co-occurrence."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from capnet_mm.evaluation.frequency_groups import by_train_count, group_of
from capnet_mm.fileio import replace_files
from capnet_mm.visualization import GROUP_COLORS, render_png


def sample_sheet(dataset, indices: Sequence[int], num_views: int, path: Path) -> None:
    """Draw images as training sees them, one row an image.

    Args:
        dataset: An ``ImageListDataset`` whose pipeline ends in ``PackInputs``.
        indices: Indices of the images to draw.
        num_views: Number of draws of the pipeline's augmentations for each image.
        path: The PNG file to write.
    """
    names = dataset.metainfo["classes"]
    figure = Figure(figsize=(2.2 * num_views, 2.5 * len(indices)), layout="tight")
    axes = figure.subplots(len(indices), num_views, squeeze=False)
    for row, index in zip(axes, indices, strict=True):
        for axis in row:
            item = dataset[index]
            # (3, H, W) BGR -> (H, W, 3) RGB
            axis.imshow(item["inputs"].numpy()[::-1].transpose(1, 2, 0))
            axis.set_axis_off()
        labels = [names[label] for label in item["data_samples"].gt_label.tolist()]
        row[0].set_title(
            ", ".join(labels) or "no label", fontsize=9, loc="left", parse_math=False
        )
    _save(figure, path, dpi=80)


def count_plot(metainfo: dict, path: Path) -> None:
    """Draw the training images of each class, coloured by group.

    Args:
        metainfo: ``classes``, ``class_counts`` and ``groups`` of a data set.
        path: The PNG file to write.
    """
    counts = np.array(metainfo["class_counts"])
    order = np.array(by_train_count(counts))
    groups = group_of(metainfo["groups"])
    figure = Figure(figsize=(max(6, 0.28 * len(counts)), 4), layout="tight")
    axis = figure.subplots()
    for group, color in GROUP_COLORS.items():
        places = [p for p, index in enumerate(order) if groups[index] == group]
        label = f"{group} ({len(places)})"
        axis.bar(places, counts[order[places]], color=color, label=label)
    axis.set_yscale("symlog", linthresh=1)  # a class may have no image at all
    axis.set_xticks(
        range(len(order)),
        [metainfo["classes"][index] for index in order],
        rotation=90,
        fontsize=8,
        parse_math=False,
    )
    axis.set_ylabel("training images")
    axis.legend()
    _save(figure, path, dpi=100)


def cooccurrence(labels: Sequence[Sequence[int]], num_classes: int) -> np.ndarray:
    """Count how often a class is seen beside another.

    Args:
        labels: Labels of each image.
        num_classes: Number of classes, C.

    Returns:
        (C, C): row c, column k is the share of the images with c that have k too;
        the diagonal is 1, a class without images has a row of 0.
    """
    one_hot = np.zeros((len(labels), num_classes))
    for row, image_labels in zip(one_hot, labels, strict=True):
        row[list(image_labels)] = 1
    together = one_hot.T @ one_hot
    return together / np.maximum(together.diagonal()[:, None], 1)


def cooccurrence_map(dataset, path: Path) -> None:
    """Draw :func:`cooccurrence` as a heat map with class names.

    Args:
        dataset: An ``ImageListDataset``.
        path: The PNG file to write.
    """
    names = dataset.metainfo["classes"]
    labels = [dataset.get_cat_ids(index) for index in range(len(dataset))]
    size = max(5, 0.24 * len(names))
    figure = Figure(figsize=(size + 1, size), layout="tight")
    axis = figure.subplots()
    image = axis.imshow(
        cooccurrence(labels, len(names)), vmin=0, vmax=1, cmap="cividis"
    )
    text = dict(fontsize=7, parse_math=False)
    axis.set_xticks(range(len(names)), names, rotation=90, **text)
    axis.set_yticks(range(len(names)), names, **text)
    axis.set_xlabel("… that also show this class")
    axis.set_ylabel("share of the images of this class …")
    figure.colorbar(image, ax=axis, fraction=0.046)
    _save(figure, path, dpi=100)


def _save(figure: Figure, path: Path, dpi: int) -> None:
    """Write a PNG file whole or not at all."""
    replace_files({Path(path): render_png(figure, dpi)})
