"""From raw downloads to annotation files: readers, checks and the writer.

``tools/prepare_data.py`` is their command line. A reader turns what is published
into one :class:`LabelledSet`; :func:`check_set` says what is in it and what is wrong
with it; :func:`write_set` writes one file a split, in the format that
:func:`write_set` describes and :class:`~capnet_mm.datasets.ImageListDataset` reads.
Nothing here ever unpickles a file.
"""

from .checks import PUBLISHED, Report, check_set, drop_unlabelled, drop_unusable
from .coco import read_coco_lt
from .id_lists import read_id_list
from .labelled_set import LabelDifference, LabelledImage, LabelledSet
from .nus_wide import read_nus_wide
from .own_data import read_own_data
from .report import format_report
from .split import draw_split
from .voc import read_voc_lt
from .writer import check_not_there, output_paths, write_report, write_set

__all__ = [
    "PUBLISHED",
    "LabelDifference",
    "LabelledImage",
    "LabelledSet",
    "Report",
    "check_not_there",
    "check_set",
    "draw_split",
    "drop_unlabelled",
    "drop_unusable",
    "format_report",
    "output_paths",
    "read_coco_lt",
    "read_id_list",
    "read_nus_wide",
    "read_own_data",
    "read_voc_lt",
    "write_report",
    "write_set",
]
