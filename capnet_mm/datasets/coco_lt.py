"""COCO-LT."""

from mmpretrain.registry import DATASETS

from .image_list import ImageListDataset

# In COCO's own order. MMPretrain has no list of them.
# fmt: off
COCO_CATEGORIES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck",
    "boat", "traffic light", "fire hydrant", "stop sign", "parking meter", "bench",
    "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra",
    "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove",
    "skateboard", "surfboard", "tennis racket", "bottle", "wine glass", "cup",
    "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse",
    "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier",
    "toothbrush",
)
# fmt: on


@DATASETS.register_module()
class COCOLT(ImageListDataset):
    """COCO-LT: COCO with a long tail (Wu et al., ECCV 2020).

    Training: 1,909 images of train2017, 8,316 labels, from 6 to 1,128 images a
    class; 22 head, 33 medium and 25 tail classes. Test: val2017, 5,000 images, of
    which 48 have no label and stay as negatives.

    Labels are the positions in COCO's own list of 80 classes. Layout::

        data_root
        ├── coco_lt_train.txt
        ├── coco_lt_test.txt
        ├── train2017
        └── val2017

    Args:
        ann_file (str, optional): Defaults to None: ``coco_lt_train.txt``, or
            ``coco_lt_test.txt`` with ``test_mode=True``, which takes its class counts
            and groups from the former. Where ``tools/prepare_data.py coco-lt`` wrote
            the same name with ``.json``, that one is taken.
        **kwargs: Other arguments of :class:`ImageListDataset`.

    Examples:
        >>> train = COCOLT(data_root="data/coco_lt")
        >>> [len(group) for group in train.metainfo["groups"].values()]
        [22, 33, 25]
    """

    METAINFO = {"classes": COCO_CATEGORIES}
    TRAIN_LIST = "coco_lt_train.txt"
    TEST_LIST = "coco_lt_test.txt"
    LINKED_FOLDERS = ("train2017", "val2017")
    # Wu et al., ECCV 2020; what tools/prepare_data.py compares with.
    PUBLISHED = {
        "training images": 1909,
        "test images": 5000,
        "training labels": 8316,
        "images of the rarest class": 6,
        "images of the most frequent class": 1128,
        "head / medium / tail classes": (22, 33, 25),
        "test images without label": 48,
    }
