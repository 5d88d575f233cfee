"""PyTorch and safetensors: whether they are there, and how they get there.

Nothing is imported to find out, and nothing is installed without a question. PyTorch comes through
the PyTorch extension, which picks the build for the computer's GPU; plain pip would not.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import platform
import sys
from functools import cache
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from ..errors import AttentionUNetSegmentError, Cancelled

TORCH_REQUIREMENT = ">=2.4"
REQUESTER = "Attention U-Net Segment"

_log = logging.getLogger(__name__)


class InstallationError(AttentionUNetSegmentError):
    """A package that is needed is not there and could not be installed."""


def installed(package: str) -> bool:
    """Whether a package could be imported; it is not imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # it is imported already, by something that gave it no specification
        return True


def torchInstalled() -> bool:
    return installed("torch")


def packagesInstalled() -> bool:
    """Whether all is there that segmenting needs."""
    return torchInstalled() and installed("safetensors")


def requirePackages() -> None:
    """Raises:
    InstallationError: something is missing; the message says how it gets here.
    """
    if not packagesInstalled():
        raise InstallationError(
            _(
                "What the networks need is not installed yet: open the module 'Attention U-Net "
                "Segment', press its large button, then click again."
            )
        )


def extensionInstalled() -> bool:
    """Whether the PyTorch extension is there, which installs PyTorch."""
    return installed("PyTorchUtils")


def missingText() -> str:
    """What is missing, how large it is and how it gets here; nothing where nothing is missing."""
    if torchInstalled():
        if installed("safetensors"):
            return ""
        return _(
            "The Python package safetensors, which reads the model's weights, is not installed "
            "yet. The button installs it after a question: a download of less than 1 MB."
        )
    if not torchExists():
        return _(
            "PyTorch, which computes the networks, ends at version 2.2 for Macs with an Intel "
            "processor, and for a 3D Slicer built for them; version 2.4 is needed. Use a 3D Slicer "
            "built for Apple's own processors, or another computer."
        )
    if extensionInstalled():
        return _(
            "PyTorch, which computes the networks, is not installed yet. The button installs it "
            "after a question: a download of about 0.2 GB, or of about 3 GB for an NVIDIA GPU, "
            "once. It takes minutes, in which the application does not answer; how far it is is "
            "written in the Python console."
        )
    return _(
        "PyTorch, which computes the networks, is not installed, and neither is the extension "
        "'PyTorch' that installs it. The button opens the Extensions Manager: install 'PyTorch' "
        "there (1 MB), restart the application, and come back. PyTorch itself is then a download "
        "of about 0.2 GB, or of about 3 GB for an NVIDIA GPU, once."
    )


def torchExists() -> bool:
    """Whether there is a PyTorch of a version that suffices for this system at all."""
    return not (sys.platform == "darwin" and platform.machine() == "x86_64")


def openExtensionsManager() -> None:
    """Where the user installs the PyTorch extension."""
    slicer.app.openExtensionsManagerDialog()


def torchState() -> str:
    """A sentence on PyTorch's state."""
    if torchInstalled():
        version = _torchVersion()
        if version is None:
            return _("PyTorch is installed.")
        return _("PyTorch {version} is installed.").format(version=version)
    if extensionInstalled():
        return _("PyTorch is not installed yet; the PyTorch extension can install it.")
    return _(
        "PyTorch is not installed, and neither is the PyTorch extension that installs it: open "
        "the Extensions Manager, install 'PyTorch', and restart the application."
    )


@cache
def _torchVersion() -> str | None:
    """Asked for at every update of the panel, and looked for among all packages."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def ensurePackages(requirementsFile: str | Path) -> None:
    """Install what is missing, after a question; main thread only.

    Args:
        requirementsFile: the packages besides PyTorch.

    Raises:
        Cancelled: the user declined.
        InstallationError: it cannot be installed; the message says what to do.
    """
    if not torchInstalled():
        installTorch()
    if not installed("safetensors"):
        _installRequirements(Path(requirementsFile))
        importlib.invalidate_caches()
        if not installed("safetensors"):
            raise _packagesFailed()


def installTorch() -> None:
    """Install PyTorch through the PyTorch extension.

    Raises:
        Cancelled: the user declined.
        InstallationError: the extension is missing, or failed.
    """
    try:
        import PyTorchUtils
    except ImportError as error:
        raise InstallationError(torchState()) from error
    try:
        torch = PyTorchUtils.PyTorchUtilsLogic().installTorch(
            askConfirmation=True, torchVersionRequirement=TORCH_REQUIREMENT
        )
    # pip, the network and the disk fail in many ways, and all of them mean the same here.
    except Exception as error:
        _log.exception("The installation of PyTorch failed")
        raise InstallationError(
            _(
                "PyTorch could not be installed; see the error log, and try the module 'PyTorch "
                "Util' of the PyTorch extension."
            )
        ) from error
    if torch is None:
        raise Cancelled()
    _torchVersion.cache_clear()


def _installRequirements(requirementsFile: Path) -> None:
    try:
        import slicer.packaging
    except ImportError:  # before Slicer 5.11
        _installWithPip(requirementsFile)
        return
    try:
        slicer.packaging.pip_ensure(
            slicer.packaging.load_requirements(requirementsFile), requester=REQUESTER
        )
    except Exception as error:
        # pip_ensure has no error of its own for this; other failures are RuntimeErrors, too.
        if isinstance(error, RuntimeError) and "declined" in str(error):
            raise Cancelled() from error
        _log.exception("The installation of %s failed", requirementsFile.name)
        raise _packagesFailed() from error


def _installWithPip(requirementsFile: Path) -> None:
    names = [
        line.strip()
        for line in requirementsFile.read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.startswith("#")
    ]
    question = _("{module} needs the Python packages {packages}. Install them now?").format(
        module=REQUESTER, packages=", ".join(names)
    )
    if not slicer.util.confirmOkCancelDisplay(question):
        raise Cancelled()
    try:
        slicer.util.pip_install(names)
    except Exception as error:
        _log.exception("The installation of %s failed", ", ".join(names))
        raise _packagesFailed() from error


def _packagesFailed() -> InstallationError:
    return InstallationError(
        _(
            "The package safetensors could not be installed; check the connection to the internet, "
            "see the error log, and try again."
        )
    )
