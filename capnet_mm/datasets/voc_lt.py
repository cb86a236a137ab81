"""VOC-LT."""

from mmpretrain.datasets.categories import VOC2007_CATEGORIES
from mmpretrain.registry import DATASETS

from .image_list import ImageListDataset

# VOC writes names as one word, and some as British or dated words. CLIP read
# captions: these are the words that captions use (COCO's names for the same things).
_READABLE = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
VOC_PROMPT_NAMES = tuple(_READABLE.get(name, name) for name in VOC2007_CATEGORIES)


@DATASETS.register_module()
class VOCLT(ImageListDataset):
    """VOC-LT: PASCAL VOC with a long tail (Wu et al., ECCV 2020).

    Training: 1,142 images of VOC2012 trainval, 2,346 labels, from 4 (cow) to 775
    (person) images a class; 6 head, 6 medium and 8 tail classes. Test: VOC2007
    test, 4,952 images. Objects marked "difficult" count as positive in both.

    Labels are the positions in VOC's alphabetical list of 20 classes. Layout::

        data_root
        ├── voc_lt_train.txt
        ├── voc_lt_test.txt
        └── VOCdevkit
            ├── VOC2007/JPEGImages
            └── VOC2012/JPEGImages

    Args:
        ann_file (str, optional): Defaults to None: ``voc_lt_train.txt``, or
            ``voc_lt_test.txt`` with ``test_mode=True``, which takes its class counts
            and groups from the former. Where ``tools/prepare_data.py voc-lt`` wrote
            the same name with ``.json``, that one is taken.
        **kwargs: Other arguments of :class:`ImageListDataset`.

    Examples:
        >>> test = VOCLT(data_root="data/voc_lt", test_mode=True)
        >>> [len(group) for group in test.metainfo["groups"].values()]
        [6, 6, 8]
    """

    METAINFO = {"classes": VOC2007_CATEGORIES, "prompt_names": VOC_PROMPT_NAMES}
    TRAIN_LIST = "voc_lt_train.txt"
    TEST_LIST = "voc_lt_test.txt"
    LINKED_FOLDERS = (
        "VOCdevkit",
        "VOCdevkit/VOC2007",
        "VOCdevkit/VOC2012",
        "VOCdevkit/VOC2007/JPEGImages",
        "VOCdevkit/VOC2012/JPEGImages",
    )
    # Wu et al., ECCV 2020; what tools/prepare_data.py compares with.
    PUBLISHED = {
        "training images": 1142,
        "test images": 4952,
        "training labels": 2346,
        "images of the rarest class": 4,
        "images of the most frequent class": 775,
        "head / medium / tail classes": (6, 6, 8),
        "test images without label": 0,
    }
