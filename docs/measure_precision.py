"""What fp16 and int8 cost each network: exports all of them, and writes the figures of their proofs.

    python docs/measure_precision.py --calibration photos --weights seg=espnetv2_s_2.0_city_1024x512.pth

Rewrites docs/precision.json and the table in docs/precision.md. Networks without a checkpoint get seeded random
weights. Nothing here depends on speed.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from espnet_edge.export import ExportOptions, Progress, export
from espnet_edge.model.registry import get_spec
from espnet_edge.runtime.manifest import Precision

FOLDER = Path(__file__).resolve().parent
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
NETWORKS = ("mobilenetv1", "mobilenetv2", "shufflenetv1", "shufflenetv2", "cls", "lm", "det", "seg")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")


def measure(network: str, precision: Precision, weights: str, calibration: Path) -> dict[str, Any]:
    """One export, with an engine by TensorRT-RTX, and what its proof says."""
    with tempfile.TemporaryDirectory() as folder:
        options = ExportOptions(
            model=network,
            out=Path(folder),
            weights=weights,
            engine="tensorrt-rtx",
            precision=precision,
            calibration=calibration if precision == "int8" else None,
        )
        result = export(options, Progress())
    int8 = result.parity.int8
    assert result.engine is not None
    assert result.engine.engine is not None
    return {
        "network": result.manifest.name,
        "width_mult": result.manifest.width_mult,
        "dataset": result.manifest.dataset,
        "random_weights": result.manifest.weights.random,
        "precision": precision,
        "bytes": result.manifest.file.bytes,
        "engine_bytes": result.engine.file.bytes,
        "engine_builder": f"{result.engine.engine.builder} {result.engine.engine.builder_version}",
        "inputs": len(result.parity.cases),
        "label_agreement": min(case.label_agreement for case in result.parity.cases),
        "max_abs_error": max(case.max_abs_error for case in result.parity.cases),
        "min_cosine": min(case.cosine for case in result.parity.cases),
        "int8": None if int8 is None else int8.model_dump(mode="json"),
    }


def row(figures: dict[str, Any]) -> str:
    """A line of the table."""
    int8 = figures["int8"]
    weights = "random" if figures["random_weights"] else "published"
    cells = [
        f"`{figures['network']}` {figures['width_mult']:g}, {figures['dataset']}, {weights}",
        figures["precision"],
        f"{figures['bytes'] / 1e6:.2f}",
        f"{figures['engine_bytes'] / 1e6:.2f}",
        f"{figures['max_abs_error']:.1e}",
        f"{1 - figures['min_cosine']:.0e}",
    ]
    if int8 is None:
        cells += [f"{figures['label_agreement']:.4f}", "-", "-", "-"]
    else:
        held_out = int8["held_out_agreement"]
        cells += [
            f"{int8['agreement']:.4f}",
            f"{int8['naive_agreement']:.4f}",
            "-" if held_out is None else f"{held_out:.4f}",
            f"{int8['int8_convolutions']} of {int8['convolutions']}, {int8['int8_macs_share']:.0%}",
        ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibration", type=Path, required=True, help="folder with photos")
    parser.add_argument("--weights", action="append", default=[], metavar="NETWORK=FILE")
    parser.add_argument("--only", nargs="*", default=NETWORKS, choices=NETWORKS, help="measure these, keep the rest")
    arguments = parser.parse_args()
    weights = dict(pair.split("=", 1) for pair in arguments.weights)
    results = FOLDER / "precision.json"
    found = json.loads(results.read_text(encoding="utf-8")) if results.exists() else []
    for network in arguments.only:
        found = [figures for figures in found if figures["network"] != network]
        for precision in PRECISIONS:
            if precision == "int8" and get_spec(network).task == "language_modelling":
                continue
            found.append(measure(network, precision, weights.get(network, "random"), arguments.calibration))
            print(row(found[-1]), flush=True)
        found.sort(key=lambda figures: NETWORKS.index(figures["network"]))
        results.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    page = FOLDER / "precision.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    columns = (
        "network, weights",
        "precision",
        "ONNX MB",
        "engine MB",
        "largest error",
        "1 - cosine",
        "labels equal",
        "all blocks int8",
        "held out",
        "int8 convolutions, MACs",
    )
    header = f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|"
    table = "\n".join([header, *map(row, found)])
    page.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
