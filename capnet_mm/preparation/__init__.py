"""From raw downloads to annotation files: readers, checks and the writer.

``tools/prepare_data.py`` is the command line of this package. A reader turns what is
published into one :class:`LabelledSet`; :func:`check_set` says what is in it and what
is wrong with it; :func:`write_set` writes one file a split, which
:class:`~capnet_mm.datasets.ImageListDataset` reads. Nothing here ever unpickles a file.
"""

from .checks import check_set, drop_unlabelled, drop_unusable
from .coco import read_coco_lt
from .labelled_set import LabelledImage, LabelledSet
from .nus_wide import read_nus_wide
from .own_data import read_own_data
from .report import format_report
from .split import draw_split
from .voc import read_voc_lt
from .writer import check_not_there, write_report, write_set

__all__ = [
    "LabelledImage",
    "LabelledSet",
    "check_not_there",
    "check_set",
    "draw_split",
    "drop_unlabelled",
    "drop_unusable",
    "format_report",
    "read_coco_lt",
    "read_nus_wide",
    "read_own_data",
    "read_voc_lt",
    "write_report",
    "write_set",
]
