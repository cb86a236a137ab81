"""Where a head's class names come from."""

from collections import Counter
from collections.abc import Sequence

from mmpretrain.registry import DATASETS

from capnet_mm.plain_text import LONGEST_NAME, check_plain_text, shown


def resolve_class_names(
    classes: dict | Sequence[str],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Find the names of the classes, and the words for prompts.

    No image and no list is looked at. A data set whose class states its names
    (``METAINFO``) need not be on this machine.

    Args:
        classes: The names; or the config of a registered data set, which is built with
            ``lazy_init=True``; or what such a data set states, a dict with ``classes``
            and maybe ``prompt_names``: the ``dataset_meta`` of a checkpoint.

    Returns:
        Names of the C classes, and the words for prompts, which are the names where
        nothing else is stated.

    Raises:
        ValueError: For no names, a repeated one, a single string, or a name that is no
            line of plain text of up to 1,000 characters.
        FileNotFoundError: The names are in a file that is missing.
    """
    if isinstance(classes, str):
        raise ValueError(
            "classes must be a list of names or a data set's config, got "
            f"{shown(classes)}."
        )
    stated = classes
    if isinstance(classes, dict) and "type" in classes:
        stated = DATASETS.build({**classes, "lazy_init": True}).metainfo
    if not isinstance(stated, dict):
        stated = dict(classes=stated)
    names = tuple(stated.get("classes") or ())
    if not names:
        raise ValueError(
            f"{shown(classes)} gives no class names; the head needs at least one."
        )
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"The class name {shown(name)} is no text.")
        check_plain_text(name, "The class name", LONGEST_NAME)
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise ValueError(f"Class names are repeated: {repeated}.")
    return names, tuple(stated.get("prompt_names") or names)
