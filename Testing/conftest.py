"""Fixtures that several test files share."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

pytest_plugins = ["panel_fixtures"]
for helper in ("command_line", "panel_driver", "scan_files", "scene_helpers", "threshold_model"):
    pytest.register_assert_rewrite(helper)

# Files that take long, the longest first: the processes of ``-n auto`` then end together.
LONGEST_FIRST = (
    *("test_moved_scans", "test_batch_on_ray", "test_odd_inputs", "test_faults", "test_notebooks"),
    *("test_distributed", "test_security", "test_experiments", "test_training", "test_long_use"),
    *("test_same_output", "test_shipped_model", "test_installed_extension", "test_finetuning"),
    *("test_app", "test_overlay", "test_distributions", "test_networks", "test_editing_properties"),
    *("test_onnx", "test_segment_command", "test_batch", "test_trust", "test_structure"),
    *("test_benchmark", "test_effect", "test_own_network", "test_editor", "test_readme"),
    *("test_session", "test_strokes", "test_training_slices", "test_packages"),
    "test_editing_network",
)


def pytest_xdist_auto_num_workers() -> int | None:
    """Processes of ``-n auto``: one more than there are cores, for some tests wait for processes
    that they start. None leaves the number to the environment, where it is set."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    affinity = getattr(os, "sched_getaffinity", None)
    return (len(affinity(0)) if affinity else os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported while tests are collected stays to the end. To search a million objects for
    garbage takes a second, which tests of what is left behind would do again and again."""
    gc.disable()
    result = yield
    gc.freeze()
    gc.enable()
    return result


# A busy machine is slow, not wrong; and the same examples every time, so that a failure stays.
settings.register_profile("project", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("project")

# Threads that wait for one another sleep, and leave the core to the other tests' processes.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# One file of tests on each core, not each on all of them.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Where Python is told to keep no bytecode, each of the processes that tests start would compile the
# library anew, a third of a second each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell's background job, and what it starts, would not hear Ctrl+C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The models that somebody has installed are not what is tested.
os.environ["ATTENTION_UNET_SEGMENT_MODELS"] = os.devnull

# PyTorch's CUDA builds for Linux bring Triton, which crashes when it is loaded after the software
# OpenGL of the tests with pictures: each has an LLVM of its own. The other way round works.
with contextlib.suppress(ImportError):
    importlib.import_module("triton._C.libtriton")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real CT scans, which are no part of the repository; skips without it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real CT scans: there is no folder {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """PyTorch on one core, as a Ray worker has it: sums in another order end in other bits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def error_log() -> Iterator[Any]:
    """Slicer's error log, as long as a test is inside the stand-in for it; None elsewhere.

    An entry that comes during a test fails it, unless the test expects it: a user sees a red cross
    in the status bar then.
    """
    module, slicer = sys.modules.get("SlicerStandIn.error_log"), sys.modules.get("slicer")
    if module is None or not hasattr(slicer, "app"):
        yield None
        return
    with module.mustStayEmpty() as log:
        yield log
