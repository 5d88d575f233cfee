"""How much of each compressed file is decompressed."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from AttentionUNetSegmentLib.io import nifti


def count_decompressed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """From now on, the bytes that are decompressed of each file, by its name."""
    counted: Counter[str] = Counter()

    class Counting(gzip.GzipFile):
        def read(self, size: int | None = -1) -> bytes:
            content = super().read(size)
            counted[Path(self.name).name] += len(content)
            return content

    def opened(file: Any, *arguments: Any, **options: Any) -> gzip.GzipFile:
        return Counting(file, *arguments, **options)

    monkeypatch.setattr(gzip, "open", opened)
    monkeypatch.setattr(nifti, "open_gzip", opened)
    return counted


def whole_reads(counted: Counter[str], folder: Path) -> dict[str, float]:
    """How often each file of a folder was decompressed from end to end, by its name."""
    reads = {}
    for file in sorted(folder.rglob("*.nii.gz")):
        with file.open("rb") as raw, gzip.GzipFile(fileobj=raw) as stream:
            reads[file.name] = counted[file.name] / len(stream.read())
    return reads
