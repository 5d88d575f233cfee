"""One contender in a process of its own: ``python -m ...benchmark.worker SPEC``, JSON on stdout."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ...errors import AttentionUNetSegmentError
from .measurements import Measurement, peak_memory_mb


def measure(spec: dict[str, Any]) -> Measurement:
    """Run what a specification names.

    Args:
        spec: ``contender``, ``scan``, ``model``, ``device``, ``precision``, ``repetitions``,
            ``threads``.
    """
    import torch

    from .contenders import CONTENDERS, Bench

    if spec.get("threads"):
        torch.set_num_threads(spec["threads"])
    name = spec["contender"]
    title, function = CONTENDERS[name]
    bench = Bench(
        Path(spec["scan"]),
        Path(spec["model"]),
        spec["device"],
        spec["repetitions"],
        spec["precision"],
    )
    try:
        seconds = function(bench)
    except AttentionUNetSegmentError as error:
        return Measurement(name, title, skipped=str(error))
    on_gpu = bench.predictor.device.type == "cuda"
    return Measurement(
        name,
        title,
        seconds,
        peak_memory_mb(),
        torch.cuda.max_memory_allocated() / 1e6 if on_gpu else None,
        parts=bench.parts,
        details=bench.details,
    )


if __name__ == "__main__":
    json.dump(measure(json.loads(sys.argv[1])).to_json(), sys.stdout)
