"""NUS-WIDE."""

from mmpretrain.registry import DATASETS

from .image_list import ImageListDataset

# In the order of the published Concepts81.txt.
# fmt: off
NUS_WIDE_CONCEPTS = (
    "airport", "animal", "beach", "bear", "birds", "boats", "book", "bridge",
    "buildings", "cars", "castle", "cat", "cityscape", "clouds", "computer", "coral",
    "cow", "dancing", "dog", "earthquake", "elk", "fire", "fish", "flags", "flowers",
    "food", "fox", "frost", "garden", "glacier", "grass", "harbor", "horses", "house",
    "lake", "leaf", "map", "military", "moon", "mountain", "nighttime", "ocean",
    "person", "plane", "plants", "police", "protest", "railroad", "rainbow",
    "reflection", "road", "rocks", "running", "sand", "sign", "sky", "snow", "soccer",
    "sports", "statue", "street", "sun", "sunset", "surf", "swimmers", "tattoo",
    "temple", "tiger", "tower", "town", "toy", "train", "tree", "valley", "vehicle",
    "water", "waterfall", "wedding", "whales", "window", "zebra",
)
# fmt: on

# The concepts that "a photo of a {}" does not fit: plurals, and words that captions
# write otherwise.
_READABLE = {
    "birds": "bird",
    "boats": "boat",
    "buildings": "building",
    "cars": "car",
    "clouds": "cloud",
    "flags": "flag",
    "flowers": "flower",
    "horses": "horse",
    "nighttime": "night time",
    "plane": "airplane",
    "plants": "plant",
    "rocks": "rock",
    "swimmers": "swimmer",
    "whales": "whale",
}
NUS_WIDE_PROMPT_NAMES = tuple(_READABLE.get(name, name) for name in NUS_WIDE_CONCEPTS)


@DATASETS.register_module()
class NUSWIDE(ImageListDataset):
    """NUS-WIDE: Flickr photographs with 81 concepts (Chua et al., CIVR 2009).

    The published split has 161,789 training and 107,859 test images, of which many
    have none of the concepts (they stay as negatives unless
    ``tools/prepare_data.py nus-wide --drop-unlabelled`` left them out). Labels are
    positions in ``Concepts81.txt``. Layout::

        data_root
        ├── nus_wide_train.json     # written by tools/prepare_data.py nus-wide
        ├── nus_wide_test.json
        └── Flickr                  # actor/0001_2124494179.jpg …

    Args:
        ann_file (str, optional): Defaults to None: ``nus_wide_train.json``, or
            ``nus_wide_test.json`` with ``test_mode=True``, which takes its class
            counts and groups from the former.
        **kwargs: Other arguments of :class:`ImageListDataset`.

    Examples:
        >>> test = NUSWIDE(data_root="data/nus_wide", test_mode=True)
        >>> len(test.metainfo["classes"])
        81
    """

    METAINFO = {"classes": NUS_WIDE_CONCEPTS, "prompt_names": NUS_WIDE_PROMPT_NAMES}
    TRAIN_LIST = "nus_wide_train.json"
    TEST_LIST = "nus_wide_test.json"
    LINKED_FOLDERS = ("Flickr",)
    # The data set's own page; what tools/prepare_data.py compares with.
    PUBLISHED = {"training images": 161789, "test images": 107859}
