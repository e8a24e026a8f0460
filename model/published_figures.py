"""What the authors print about their networks: parameters and multiply-accumulates in millions, accuracy in percent.

Facts with their sources; nothing here is measured by us. Conventions differ: see `NOTES`. Multi-label classification
and the language model are in the paper, but no figure of them was found.
"""

from dataclasses import dataclass

from .eru_lm import UNITS
from .weights import PublishedWeights, published_weights

_ESPNETV2 = "README of sacmehta/EdgeNets"
_SLIM = "tensorflow/models, research/slim"
_MEGVII = "README of megvii-model/ShuffleNet-Series"

NOTES = {
    _ESPNETV2: (
        'its "FLOPs" are convolution MACs and half an operation for each bias add; linear layers are left out; '
        "detection is printed in billions, cut to one digit"
    ),
    _SLIM: "weights trained in TensorFlow, whose padding and batch-norm epsilon differ from the networks here",
    _MEGVII: (
        "the authors' units, stem and classifier differ from the reference forms here: v1 at 1.5 has a stem of 24 "
        "channels (36 here), v2 keeps the channels of the shortcut in strided units, neither's classifier has a bias. "
        "Counted in that form: v1 717,324, 1,864,728, 3,441,168 and 5,449,776 parameters, 37.11, 136.50, 291.00 and "
        "522.13 M conv MACs; v2 1,365,792, 2,278,760, 3,506,720 and 7,402,600 parameters, 39.45, 144.79, 297.95 and "
        "588.74 M"
    ),
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

    Multi-label classification and the language model have rows without figures.
    """
    rows = [*_espnetv2_rows(), *_rows_without_figures(), *_baseline_rows()]
    chosen = [row for row in rows if row.network in networks]
    return tuple(sorted(chosen, key=lambda row: (row.network, row.dataset, row.size or (), row.width_mult)))


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
            accuracy=file.top1 or file.miou or file.map or 0.0,
            source=_ESPNETV2,
        )
        for file in published_weights()
        # Both repositories publish the classifiers; one row is enough.
        if file.repo == "sacmehta/EdgeNets" and file.task in _MACS
    ]


def _rows_without_figures() -> list[PublishedFigure]:
    classifiers = [("espnetv2_cls", width, "coco", (224, 224)) for width in _ESPNETV2_MACS["imagenet", (224, 224)]]
    language_models = [("eru_lm", width, "ptb", None) for width in UNITS]
    return [
        PublishedFigure(*facts, params_m=None, macs_m=None, metric=None, accuracy=None, source=None)
        for facts in (*classifiers, *language_models)
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
