"""Drawing images of a few coloured, textured shapes among clutter."""

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from .vocabulary import Kind

# Hue and saturation of the colours' names; brightness varies.
_HUES = dict(
    red=(0.0, 0.85),
    orange=(0.075, 0.9),
    yellow=(0.155, 0.85),
    green=(0.34, 0.75),
    cyan=(0.5, 0.7),
    blue=(0.62, 0.8),
    purple=(0.76, 0.65),
    pink=(0.92, 0.4),
)
_OVERSAMPLING = 2

# An old photograph's dyes: what red, green and blue become.
_FADING = np.array([[0.75, 0.25, 0.0], [0.18, 0.585, 0.135], [0.175, 0.105, 0.35]])
_FADED_BLACK = np.array([12.0, 4.0, 0.0])


def _circle(radius: float = 1, start: float = 0, stop: float = 2 * np.pi) -> np.ndarray:
    angles = np.linspace(start, stop, 33)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _star() -> np.ndarray:
    angles = np.linspace(-np.pi / 2, 1.5 * np.pi, 10, endpoint=False)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points[1::2] *= 0.42
    return points


def _cross(arm: float = 0.34) -> np.ndarray:
    quarter = np.array([[arm, 1], [arm, arm], [1, arm]])
    turn = np.array([[0, -1], [1, 0]])
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])


def _moon() -> np.ndarray:
    outer = _circle(start=0.7, stop=2 * np.pi - 0.7)
    tip_x, tip_y = outer[0]
    center = tip_x + 0.1
    radius = np.hypot(tip_x - center, tip_y)
    start = np.arctan2(-tip_y, tip_x - center) % (2 * np.pi)
    inner = _circle(radius, start, 2 * np.pi - start) + [center, 0]
    return np.concatenate([outer, inner])


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 40)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, -y - 2.5], axis=1) / 17


# Outlines within the unit circle; a second one is a hole.
_OUTLINES = dict(
    circle=[0.9 * _circle()],
    square=[0.8 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])],
    triangle=[np.array([[0, -1], [0.92, 0.7], [-0.92, 0.7]])],
    star=[1.1 * _star()],
    cross=[_cross()],
    ring=[_circle(), _circle(0.5)],
    moon=[_moon()],
    heart=[_heart()],
)


def draw_scene(
    kinds: Sequence[Kind], rng: np.random.Generator, size: int = 96
) -> np.ndarray:
    """Draw one image.

    Objects differ in size (a quarter to half of the image, less where there are
    many), place, turn and shade, and may cover each other in part. Behind them are
    a shaded background and thin lines, before them at times a bar.

    Args:
        kinds: What is to be seen, at most about five; later ones lie in front.
        rng: Source of all that is random.
        size: Edge of the image in pixels.

    Returns:
        RGB image, (size, size, 3), uint8.
    """
    edge = size * _OVERSAMPLING
    canvas = Image.fromarray(_background(rng, edge))
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(0, 7)):
        _draw_line(pen, rng, edge, width=rng.integers(1, 4))
    crowd = 1 - 0.09 * max(0, len(kinds) - 1)
    diameters = rng.uniform(0.27, 0.5, len(kinds)) * crowd * edge
    for kind, diameter, center in zip(
        kinds, diameters, _places(diameters, rng, edge), strict=True
    ):
        _draw_object(canvas, kind, diameter, center, rng)
    if rng.random() < 0.3:
        _draw_line(pen, rng, edge, width=rng.integers(4, 11))
    return np.asarray(canvas.reduce(_OVERSAMPLING))


def fade(image: np.ndarray) -> np.ndarray:
    """Make an image look like an old, faded photograph: warm, colours mixed.

    Args:
        image: RGB, (H, W, 3), uint8.

    Returns:
        The faded image, (H, W, 3), uint8.
    """
    faded = image @ _FADING.T + _FADED_BLACK
    return faded.clip(0, 255).astype(np.uint8)


def _background(rng: np.random.Generator, edge: int) -> np.ndarray:
    """A grey or beige shade that changes over the image, with grain."""
    corners = rng.uniform(60, 225, 3)
    tint = rng.uniform(-18, 18, 3)
    y, x = np.mgrid[0:1:3j, 0:1:3j]
    shade = corners[0] * (1 - x) * (1 - y) + corners[1] * x + corners[2] * y * (1 - x)
    coarse = shade[..., None] + tint + rng.normal(0, 10, (3, 3, 3))
    smooth = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize(
        (edge, edge), Image.Resampling.BICUBIC
    )
    grain = rng.integers(-9, 10, (edge // 2, edge // 2, 1), dtype=np.int16)
    grain = grain.repeat(2, axis=0).repeat(2, axis=1)
    return (np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8)


def _draw_line(pen: ImageDraw.ImageDraw, rng, edge: int, width: int) -> None:
    ends = rng.integers(0, edge, 4).tolist()
    shade = int(rng.integers(30, 235))
    color = tuple(int(c) for c in (shade + rng.integers(-20, 21, 3)).clip(0, 255))
    pen.line(ends, fill=color, width=int(width))


def _places(diameters: np.ndarray, rng, edge: int) -> list[np.ndarray]:
    """Centres, such that objects cover each other little."""
    centers: list[np.ndarray] = []
    for diameter in diameters:
        margin = 0.45 * diameter
        tries = rng.uniform(margin, edge - margin, (20, 2))
        room = np.full(20, np.inf)  # distance to the nearest, in mean diameters
        for other, center in zip(diameters, centers, strict=False):
            distance = np.linalg.norm(tries - center, axis=1)
            room = np.minimum(room, 2 * distance / (diameter + other))
        enough = (room > 0.85).nonzero()[0]
        centers.append(tries[enough[0] if len(enough) else room.argmax()])
    return centers


def _draw_object(canvas: Image.Image, kind: Kind, diameter, center, rng) -> None:
    edge = int(diameter) + 2
    mask = Image.new("L", (edge, edge))
    pen = ImageDraw.Draw(mask)
    turn = rng.uniform(-0.35, 0.35)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    for outline, value in zip(_OUTLINES[kind.shape], (255, 0), strict=False):
        points = (outline @ rotation * diameter + edge) / 2
        pen.polygon(points.ravel().tolist(), fill=value)
    corner = np.round(center - edge / 2).astype(int)
    canvas.paste(_surface(kind, edge, rng), tuple(corner.tolist()), mask)


def _surface(kind: Kind, edge: int, rng) -> Image.Image:
    """A square of an object's colour and texture."""
    hue, saturation = _HUES[kind.color]
    value = rng.uniform(0.7, 1.0)
    hue = (hue + rng.normal(0, 0.008)) % 1
    color = 255 * np.array(colorsys.hsv_to_rgb(hue, saturation, value))
    marks = _marks(kind.texture, edge, rng)[..., None]
    other = 0.3 * color if kind.texture != "dotted" else 0.25 * color + 185
    pixels = np.where(marks, other, color)
    light = np.linspace(rng.uniform(-22, 22), rng.uniform(-22, 22), edge)
    pixels = (pixels + light[:, None]).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels)


def _marks(texture: str, edge: int, rng) -> np.ndarray:
    """Where a texture has its second tone, (edge, edge) of bool."""
    if texture == "plain":
        return np.zeros((edge, edge), dtype=bool)
    period = rng.uniform(0.19, 0.27) * max(edge, 40)
    turn = rng.uniform(0, np.pi)
    y, x = np.mgrid[:edge, :edge]
    u = (x * np.cos(turn) + y * np.sin(turn)) / period + rng.random()
    v = (y * np.cos(turn) - x * np.sin(turn)) / period + rng.random()
    if texture == "striped":
        return u % 1 < 0.45
    if texture == "dotted":
        return np.hypot(u % 1 - 0.5, v % 1 - 0.5) < 0.33
    return (u % 1 < 0.5) != (v % 1 < 0.5)  # checkered
