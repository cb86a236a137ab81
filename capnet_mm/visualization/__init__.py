"""Figures and pages that show what a model does; no runner, no registry."""

from .curves import Curves, read_curves
from .curves_figure import training_curves
from .drawing import render_png
from .graph_figure import label_graph
from .page import PageFigure, Section, render_page, write_page
from .precision_figure import per_class_ap
from .reliability_figure import reliability_diagram
from .sheet_figure import SheetImage, SheetLabel, prediction_sheet
from .theme import GROUP_COLORS, THEMES, Theme, get_theme

__all__ = [
    "Curves",
    "GROUP_COLORS",
    "PageFigure",
    "Section",
    "SheetLabel",
    "SheetImage",
    "THEMES",
    "Theme",
    "get_theme",
    "label_graph",
    "per_class_ap",
    "prediction_sheet",
    "read_curves",
    "reliability_diagram",
    "render_page",
    "render_png",
    "training_curves",
    "write_page",
]
