"""The recorded cases of box decoding: the deterministic confidences and locations that they were made with."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def read_facts(golden: Path) -> Any:
    """The manifest of the recorded detection outputs; empty where they are missing."""
    path = golden / "det/manifest.json"
    return json.loads(path.read_text()) if path.exists() else {}


def decode_case_names(facts: Any) -> list[str]:
    return list(facts.get("decode_nms", {}))


def decode_inputs(facts: dict[str, Any], priors: int) -> tuple[Floats, Floats]:
    """Confidences (priors, classes) and locations (priors, 4) of a case."""
    classes = facts["classes"]

    def uniform(seed: int, columns: int) -> NDArray[np.float64]:
        return np.random.Generator(np.random.PCG64(seed)).random(priors * columns).reshape(priors, columns)

    confidences = 4 * (2 * uniform(facts["seed_conf"], classes) - 1)
    confidences[:, 0] += 2
    chosen = np.flatnonzero(np.arange(priors) // 12 % 5 == 0)
    confidences[chosen, 1 + chosen // 60 % (classes - 1)] += facts["peak"]
    locations = 2 * (2 * uniform(facts["seed_conf"] + 1, 4) - 1)
    return confidences.astype(np.float32), locations.astype(np.float32)
