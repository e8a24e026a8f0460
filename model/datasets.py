"""The data sets that the networks are trained on: class names and the colours that pictures of them use.

Sources: VOC bit-interleaved colours and names as in the PASCAL VOC development kit; Cityscapes train ids 0..18 and
colours as in cityscapesScripts. The official Cityscapes checkpoints have a 20th output, the ignore class, which was
trained with weight 0. COCO: the names of its 80 categories in the order of their ids, after the background where a
network has such a class. PTB: the Penn Treebank as Mikolov et al. prepared it in 2010, 10,000 words with `<unk>` and
`<eos>`.
"""

from dataclasses import dataclass

from ..errors import InputError
from .spec import Task

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Dataset:
    """Name, number of classes, and (name, colour) of each class where they are known; a colour may be None.

    `detection_names`: the names that the detection networks were trained with, where they differ.
    """

    name: str
    num_classes: int
    classes: tuple[tuple[str, Colour | None], ...] = ()
    detection_names: tuple[str, ...] = ()

    def classes_for(self, task: Task) -> tuple[tuple[str, Colour | None], ...]:
        """Name and colour of each class, as the networks for `task` call them."""
        if task == "multi_label":
            return self.classes[1:]  # a picture without any of the classes has no need of a background
        if task != "detection" or not self.detection_names:
            return self.classes
        return tuple((name, colour) for name, (_, colour) in zip(self.detection_names, self.classes, strict=True))

    def num_classes_for(self, task: Task) -> int:
        """How many classes the networks for `task` tell apart."""
        return len(self.classes_for(task)) or self.num_classes


_VOC = (
    ("background", (0, 0, 0)),
    ("aeroplane", (128, 0, 0)),
    ("bicycle", (0, 128, 0)),
    ("bird", (128, 128, 0)),
    ("boat", (0, 0, 128)),
    ("bottle", (128, 0, 128)),
    ("bus", (0, 128, 128)),
    ("car", (128, 128, 128)),
    ("cat", (64, 0, 0)),
    ("chair", (192, 0, 0)),
    ("cow", (64, 128, 0)),
    ("diningtable", (192, 128, 0)),
    ("dog", (64, 0, 128)),
    ("horse", (192, 0, 128)),
    ("motorbike", (64, 128, 128)),
    ("person", (192, 128, 128)),
    ("potted-plant", (0, 64, 0)),
    ("sheep", (128, 64, 0)),
    ("sofa", (0, 192, 0)),
    ("train", (128, 192, 0)),
    ("tv/monitor", (0, 64, 128)),
)

# The annotations' own spelling, where segmentation has another.
_VOC_DETECTION = {"background": "__background__", "potted-plant": "pottedplant", "tv/monitor": "tvmonitor"}

# Class 0 and the 80 categories; their ids have gaps, these numbers have none.
_COCO = (
    "__background__",
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "bus",
    "train",
    "truck",
    "boat",
    "traffic light",
    "fire hydrant",
    "stop sign",
    "parking meter",
    "bench",
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "elephant",
    "bear",
    "zebra",
    "giraffe",
    "backpack",
    "umbrella",
    "handbag",
    "tie",
    "suitcase",
    "frisbee",
    "skis",
    "snowboard",
    "sports ball",
    "kite",
    "baseball bat",
    "baseball glove",
    "skateboard",
    "surfboard",
    "tennis racket",
    "bottle",
    "wine glass",
    "cup",
    "fork",
    "knife",
    "spoon",
    "bowl",
    "banana",
    "apple",
    "sandwich",
    "orange",
    "broccoli",
    "carrot",
    "hot dog",
    "pizza",
    "donut",
    "cake",
    "chair",
    "couch",
    "potted plant",
    "bed",
    "dining table",
    "toilet",
    "tv",
    "laptop",
    "mouse",
    "remote",
    "keyboard",
    "cell phone",
    "microwave",
    "oven",
    "toaster",
    "sink",
    "refrigerator",
    "book",
    "clock",
    "vase",
    "scissors",
    "teddy bear",
    "hair drier",
    "toothbrush",
)

_CITYSCAPES = (
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("building", (70, 70, 70)),
    ("wall", (102, 102, 156)),
    ("fence", (190, 153, 153)),
    ("pole", (153, 153, 153)),
    ("traffic light", (250, 170, 30)),
    ("traffic sign", (220, 220, 0)),
    ("vegetation", (107, 142, 35)),
    ("terrain", (152, 251, 152)),
    ("sky", (70, 130, 180)),
    ("person", (220, 20, 60)),
    ("rider", (255, 0, 0)),
    ("car", (0, 0, 142)),
    ("truck", (0, 0, 70)),
    ("bus", (0, 60, 100)),
    ("train", (0, 80, 100)),
    ("motorcycle", (0, 0, 230)),
    ("bicycle", (119, 11, 32)),
    ("background", (0, 0, 0)),
)

_DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset("imagenet", 1000),
        Dataset("voc", len(_VOC), _VOC, tuple(_VOC_DETECTION.get(name, name) for name, _ in _VOC)),
        Dataset("coco", len(_COCO), tuple((name, None) for name in _COCO)),
        Dataset("cityscapes", len(_CITYSCAPES), _CITYSCAPES),
        Dataset("ptb", 10_000),
    )
}
# What the published files call them.
_ALIASES = {"city": "cityscapes", "pascal": "voc"}


def get_dataset(name: str) -> Dataset:
    """The data set called `name` ("city" and "pascal", the names in the published files, are understood).

    Raises:
        InputError: there is none of that name; the message lists those there are.
    """
    found = _DATASETS.get(_ALIASES.get(name, name))
    if found is None:
        raise InputError(f"data set {name!r} is unknown; there are {', '.join(sorted(_DATASETS))}")
    return found
