"""What the authors print about their networks: parameters and multiply-accumulates in millions, accuracy in percent.

Facts with their sources; nothing here is measured by us. Conventions differ: see `NOTES`. Of multi-label
classification and the language model, which are in the paper, no figure was found.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from .registry import get_spec
from .weights import PublishedWeights, published_weights

_ESPNETV2 = "README of sacmehta/EdgeNets"
_SLIM = "tensorflow/models, research/slim"
_MEGVII = "README of megvii-model/ShuffleNet-Series"

NOTES = {
    _ESPNETV2: (
        'its "FLOPs" are convolution MACs and half an operation for each bias add; linear layers are left out; '
        "detection is printed in billions, cut to one digit; 50.4 mIoU of seg 2 at 256x512, less than that of width 1, "
        "is commented out there"
    ),
    _SLIM: "weights trained in TensorFlow, whose padding and batch-norm epsilon differ from the networks here",
    _MEGVII: (
        "the authors' units, stem and classifier differ from the reference forms here: v1 at 1.5 has a stem of 24 "
        "channels (36 here), v2 keeps the channels of the shortcut in strided units, neither's classifier has a bias"
    ),
}

# The networks as the authors' own code builds them, where that differs from the reference forms here, by network and
# width: parameters, MACs of convolutions and of linear layers, counted in that code.
AUTHORS_FORM = {
    ("shufflenetv1", 0.5): (717_324, 37_109_856, 480_000),
    ("shufflenetv1", 1.0): (1_864_728, 136_500_672, 960_000),
    ("shufflenetv1", 1.5): (3_441_168, 291_003_552, 1_440_000),
    ("shufflenetv1", 2.0): (5_449_776, 522_125_184, 1_920_000),
    ("shufflenetv2", 0.5): (1_365_792, 39_452_448, 1_024_000),
    ("shufflenetv2", 1.0): (2_278_760, 144_790_296, 1_024_000),
    ("shufflenetv2", 1.5): (3_506_720, 297_946_656, 1_024_000),
    ("shufflenetv2", 2.0): (7_402_600, 588_735_000, 2_048_000),
}


@dataclass(frozen=True)
class PublishedFigure:
    """One row of somebody's table. `size` is (height, width); `params_m` and `macs_m` are in millions as printed.

    `size` is None for a network that takes no pictures; `params_m`, `macs_m`, and `metric` with `accuracy` and
    `source`, are None where nothing was published.
    """

    network: str
    width_mult: float
    dataset: str
    size: tuple[int, int] | None
    params_m: float | None
    macs_m: float | None
    metric: str | None
    accuracy: float | None
    source: str | None


# (dataset, width) of segmentation at each size, and width of classification: the printed figure in millions.
_ESPNETV2_MACS = {
    ("imagenet", (224, 224)): {0.5: 28.38, 1.0: 85.72, 1.25: 123.40, 1.5: 168.6, 2.0: 284.81},
    ("voc", (256, 256)): {0.5: 74.88, 1.0: 136.0, 1.5: 214.51, 2.0: 337.58},
    ("voc", (384, 384)): {0.5: 168.46, 1.0: 306.0, 1.5: 482.63, 2.0: 759.52},
    ("cityscapes", (256, 512)): {0.5: 149.40, 1.0: 271.66, 1.5: 428.66, 2.0: 674.78},
    ("cityscapes", (512, 1024)): {0.5: 597.56, 1.0: 1086.59, 1.5: 1714.57, 2.0: 2699.05},
}
# Width of detection, by data set and size: printed in billions, with one digit.
_DETECTION_MACS = {
    ("voc", (300, 300)): {2.0: 900.0},
    ("voc", (512, 512)): {2.0: 2500.0},
    ("coco", (300, 300)): {2.0: 1100.0},
    ("coco", (512, 512)): {2.0: 3200.0},
}
# Parameters in millions, by data set and width.
_ESPNETV2_PARAMS = {
    ("classification", "imagenet"): {0.5: 1.24, 1.0: 1.67, 1.25: 1.96, 1.5: 2.31, 2.0: 3.49},
    ("segmentation", "voc"): {0.5: 0.08, 1.0: 0.23, 1.5: 0.47, 2.0: 0.79},
    ("segmentation", "cityscapes"): {0.5: 0.08, 1.0: 0.23, 1.5: 0.47, 2.0: 0.79},
    ("detection", "voc"): {2.0: 4.75},
    ("detection", "coco"): {2.0: 5.81},
}
_MACS = {"classification": _ESPNETV2_MACS, "segmentation": _ESPNETV2_MACS, "detection": _DETECTION_MACS}
# width: parameters in millions, MACs in millions, top-1 in percent, at 224x224.
_BASELINES = {
    ("mobilenetv1", _SLIM): {
        0.25: (0.47, 41, 49.8),
        0.5: (1.34, 150, 63.3),
        0.75: (2.59, 317, 68.4),
        1.0: (4.24, 569, 70.9),
    },
    ("mobilenetv2", _SLIM): {
        0.35: (1.66, 59, 60.3),
        0.5: (1.95, 97, 65.4),
        0.75: (2.61, 209, 69.8),
        1.0: (3.47, 300, 71.8),
        1.4: (6.06, 582, 75.0),
    },
    ("shufflenetv1", _MEGVII): {
        0.5: (0.7, 38, 57.3),
        1.0: (1.9, 138, 67.8),
        1.5: (3.4, 292, 71.6),
        2.0: (5.4, 524, 74.1),
    },
    ("shufflenetv2", _MEGVII): {
        0.5: (1.4, 41, 61.1),
        1.0: (2.3, 146, 69.4),
        1.5: (3.5, 299, 72.6),
        2.0: (7.4, 591, 75.0),
    },
}


def published_figures(networks: tuple[str, ...]) -> tuple[PublishedFigure, ...]:
    """The rows of `networks`, by full name, in the order of the names, then data set, size and width.

    Of what nobody published figures of there are rows without, at the default size of each data set.
    """
    published = [row for row in (*_espnetv2_rows(), *_baseline_rows()) if row.network in networks]
    rows = [*published, *_rows_without_figures(networks, published)]
    return tuple(sorted(rows, key=lambda row: (row.network, row.dataset, row.size or (), row.width_mult)))


def _espnetv2_rows() -> list[PublishedFigure]:
    return [
        PublishedFigure(
            network=file.network,
            width_mult=file.width_mult,
            dataset=file.dataset,
            size=file.trained_size,
            params_m=_ESPNETV2_PARAMS[file.task, file.dataset][file.width_mult],
            macs_m=_MACS[file.task][file.dataset, file.trained_size][file.width_mult],
            metric=_metric(file),
            accuracy=next(figure for figure in (file.top1, file.miou, file.map) if figure is not None),
            source=_ESPNETV2,
        )
        for file in published_weights()
        # Both repositories publish the classifiers; one row is enough.
        if file.repo == "sacmehta/EdgeNets" and file.task in _MACS
    ]


def _rows_without_figures(networks: Iterable[str], published: Iterable[PublishedFigure]) -> list[PublishedFigure]:
    known = {(row.network, row.width_mult, row.dataset) for row in published}
    return [
        PublishedFigure(name, width, dataset, size, params_m=None, macs_m=None, metric=None, accuracy=None, source=None)
        for name in networks
        for dataset, size in get_spec(name).default_sizes.items()
        for width in get_spec(name).widths
        if (name, width, dataset) not in known
    ]


def _metric(file: PublishedWeights) -> str:
    if file.task == "detection":
        # COCO averages over thresholds of overlap from 0.5 to 0.95, VOC takes 0.5.
        return "AP" if file.dataset == "coco" else "mAP"
    return "top-1" if file.task == "classification" else "mIoU"


def _baseline_rows() -> list[PublishedFigure]:
    return [
        PublishedFigure(network, width, "imagenet", (224, 224), params_m, macs_m, "top-1", top1, source)
        for (network, source), widths in _BASELINES.items()
        for width, (params_m, macs_m, top1) in widths.items()
    ]
