"""Draw which package of the library imports which, from the sources.

    python Testing/tools/make_architecture_picture.py

writes ``Resources/Documentation/architecture.png``. Arrows that follow from others are left out,
and so is ``errors`` with the other single modules that everybody may use.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Testing" / "support"))

from package_imports import LIBRARY, count_lines, levels, package_imports, reduced  # noqa: E402

PICTURE = ROOT / "Resources" / "Documentation" / "architecture.png"
WIDTH, HEIGHT = 1.0, 0.5
COLUMN, ROW = 2.1, 1.15
COLOURS = {"panel": "#f6d5a8", "attention_unet_effect": "#f6d5a8", "scene": "#f6d5a8"}
"""What imports Slicer; all else stands on its own."""
COLOUR = "#cfe3f5"


def packages() -> dict[str, set[str]]:
    """The imports between packages, without the single modules."""
    imports = package_imports()
    kept = {name for name in imports if (LIBRARY / name).is_dir()}
    return {name: imports[name] & kept for name in sorted(kept)}


def places(imports: dict[str, set[str]]) -> dict[str, tuple[float, float]]:
    """x and y of each: a row a level, the widest row from end to end."""
    rows: dict[int, list[str]] = {}
    for name, level in levels(imports).items():
        rows.setdefault(level, []).append(name)
    widest = max(len(row) for row in rows.values())
    found: dict[str, tuple[float, float]] = {}
    for level in sorted(rows):
        # Each near the middle of what it imports, so that few arrows cross.
        row = sorted(rows[level], key=lambda name: _middle(imports[name], found))
        step = COLUMN * widest / len(row)
        for index, name in enumerate(row):
            found[name] = ((index + 0.5) * step, ROW * level)
    return found


def _middle(targets: set[str], found: dict[str, tuple[float, float]]) -> float:
    return sum(found[one][0] for one in targets) / len(targets) if targets else 0.0


def _ends(
    upper: tuple[float, float], lower: tuple[float, float]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Of an arrow: from below to above, or past the boxes in between from side to side."""
    (x, y), (x2, y2) = upper, lower
    if y - y2 < 1.5 * ROW:
        return (x, y - HEIGHT / 2), (x2, y2 + HEIGHT / 2)
    side = WIDTH / 2 + 0.03
    if x2 < x:
        return (x - side, y), (x2 + side, y2)
    return (x + side, y), (x2 - side if x2 > x else x2 + side, y2)


def draw() -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    imports, lines = packages(), count_lines()
    at = places(imports)
    right, top = max(x for x, _ in at.values()) + COLUMN / 2, max(y for _, y in at.values()) + 1
    figure, axes = plt.subplots(figsize=(1.35 * right, 1.05 * top))
    for name, targets in reduced(imports).items():
        for target in targets:
            start, end = _ends(at[name], at[target])
            arrow = FancyArrowPatch(
                start,
                end,
                arrowstyle="-|>",
                mutation_scale=13,
                color="#555555",
                linewidth=1.0,
                zorder=1,
            )
            axes.add_patch(arrow)
    for name, (x, y) in at.items():
        box = FancyBboxPatch(
            (x - WIDTH / 2, y - HEIGHT / 2),
            WIDTH,
            HEIGHT,
            boxstyle="round,pad=0.02",
            facecolor=COLOURS.get(name, COLOUR),
            edgecolor="#333333",
            zorder=2,
        )
        axes.add_patch(box)
        size = 12 if len(name) < 14 else 7.5
        axes.text(x, y + 0.06, name, ha="center", va="center", fontsize=size, zorder=3)
        text = f"{lines[name]:,} lines"
        axes.text(x, y - 0.19, text, ha="center", va="center", fontsize=8, zorder=3)
    axes.set_xlim(0, right)
    axes.set_ylim(-0.5, top - 0.5)
    axes.axis("off")
    figure.savefig(PICTURE, dpi=110, bbox_inches="tight", metadata={"Software": None})
    print(PICTURE)


if __name__ == "__main__":
    draw()
