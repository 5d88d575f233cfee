"""How sure the look at a scan's orientation is: what it sees in scans as they are and turned.

    python Testing/tools/measure_orientation.py SCAN...

For each scan the share of tissue at the ends of its three axes, where the bones' middle lies from
the body's, and how many of the 48 orders of its voxels, with the directions left as they were, are
refused or warned of.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "AttentionUNetSegment"))

from AttentionUNetSegmentLib.geometry.volume import reorder_axes
from AttentionUNetSegmentLib.inference import Volume, read_volume
from AttentionUNetSegmentLib.notebook.orientation import find_orientation_conflicts


def main(files: list[str]) -> None:
    print("| scan | as it is | transposed, refused | same axes, flipped, warned of |")
    print("|---|---|---|---|")
    sums = np.zeros(5, int)
    for file in files:
        volume = read_volume(file)
        small = Volume(volume.array[::2, ::4, ::4], volume.ijk_to_ras @ np.diag([4, 4, 2, 1.0]))
        straight = find_orientation_conflicts(small)
        refused = transposed = warned = flipped = 0
        for axes in itertools.permutations(range(3)):
            for flips in itertools.product((False, True), repeat=3):
                array = reorder_axes(small, axes, flips).array
                conflicts = find_orientation_conflicts(Volume(array, small.ijk_to_ras))
                if axes[0] != 0:
                    transposed += 1
                    refused += any(conflict.certain for conflict in conflicts)
                elif axes == (0, 1, 2) and any(flips):
                    flipped += 1
                    warned += bool(conflicts)
        sums += [bool(straight), refused, transposed, warned, flipped]
        said = straight[0].sentence if straight else "nothing to say"
        print(f"| {Path(file).name} | {said} | {refused} of {transposed} | {warned} of {flipped} |")
    print(f"| all | {sums[0]} | {sums[1]} of {sums[2]} | {sums[3]} of {sums[4]} |")


if __name__ == "__main__":
    main(sys.argv[1:])
