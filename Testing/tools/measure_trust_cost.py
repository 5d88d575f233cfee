"""What the estimate, the doubtful places and the look at the orientation cost at a press.

    python Testing/tools/measure_trust_cost.py SCAN

Segments a scan once, and gives the least of ten times of each part, in milliseconds of one thread's
processor time: a busy machine does not change it much.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch
from AttentionUNetSegmentLib.inference import Predictor, Volume, read_volume
from AttentionUNetSegmentLib.inference.coarse_to_fine import locator_view
from AttentionUNetSegmentLib.inference.features import (
    measure_scale_agreement,
    result_features,
    summarise_attention,
)
from AttentionUNetSegmentLib.inference.mirrored import measure_disorder
from AttentionUNetSegmentLib.inference.refinement import Refinement
from AttentionUNetSegmentLib.inference.uncertainty import find_doubtful_places
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model, load_model

REPEATS = 10


def least_ms(part: Callable[[], object]) -> float:
    """Of several times, in the processor's milliseconds."""
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        part()
        times.append(1000 * (time.process_time() - began))
    return min(times)


def main(scan: str) -> None:
    """Segment, and take the times."""
    torch.set_num_threads(1)
    predictor = Predictor(load_model(find_model(DEFAULT_MODEL)), "cpu")
    volume = read_volume(scan)
    with torch.inference_mode():
        measure(predictor, volume)


def measure(predictor: Predictor, volume: Volume) -> None:
    """Each part on one scan."""
    prediction = predictor.predict(volume)
    probability = prediction.probability_map
    if probability is None:
        sys.exit("Nothing was found in this scan.")
    grid = probability.grid
    maps = [level.values for level in prediction.attention_maps]
    refinement = Refinement.of(grid, probability.values, maps)
    selected = refinement.values > 0.5
    attention = summarise_attention(refinement, selected, grid.bounds)
    view, _ = locator_view(predictor, volume, volume.grid.bounds)
    organs = predictor.run_locator(view, [])[0].cpu().numpy()
    sampled = predictor.sample(volume, grid)
    for name, part in (
        ("attention in figures", lambda: summarise_attention(refinement, selected, grid.bounds)),
        ("features", lambda: result_features(refinement, selected, 1, attention)),
        ("doubtful places", lambda: find_doubtful_places(refinement.values, grid)),
        ("disorder of the organs", lambda: measure_disorder(organs)),
        ("a pass of the locator", lambda: predictor.run_locator(view, [])),
        ("a pass of the refiner", lambda: predictor.run_refiner(sampled, grid, [], [])),
        (
            "the second look",
            lambda: measure_scale_agreement(predictor, volume, refinement, (), []),
        ),
    ):
        print(f"{name}: {least_ms(part):.0f} ms", flush=True)
    print(f"refiner's grid {grid.shape}, locator's {tuple(view.shape[2:])}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python Testing/tools/measure_trust_cost.py SCAN")
    main(sys.argv[1])
