"""Getting PyTorch and safetensors: asked first, refused, failed, done; one sentence each."""

from __future__ import annotations

import subprocess
import sys

import pytest
from panel_driver import fake_extension


@pytest.fixture
def there(driver, monkeypatch):
    """safetensors is missing; PyTorch is there."""
    from AttentionUNetSegmentLib.panel import installation

    there = {"safetensors": False}
    installed = installation.installed
    monkeypatch.setattr(
        installation, "installed", lambda name: there[name] if name in there else installed(name)
    )
    return there


class Answers:
    """What the user answers to the question, and what pip does then."""

    def __init__(self, there, yes=True, error=None, arrives=True):
        self.there, self.yes, self.error, self.arrives = there, yes, error, arrives
        self.questions, self.wanted = [], []

    def question(self, text, *_arguments, **_named):
        self.questions.append(text)
        return self.yes

    def pip(self, requirements, *_arguments, **_named):
        self.wanted.append([str(one) for one in requirements])
        if self.error is not None:
            raise self.error
        self.there["safetensors"] = self.arrives


@pytest.fixture(params=["Slicer 5.11 and later", "Slicer before 5.11"])
def answers(there, request, monkeypatch):
    import slicer.packaging
    import slicer.util

    answers = Answers(there)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", answers.question)
    if request.param == "Slicer before 5.11":
        monkeypatch.setitem(sys.modules, "slicer.packaging", None)
        monkeypatch.delattr(slicer, "packaging")
        monkeypatch.setattr(slicer.util, "pip_install", answers.pip)
    else:
        monkeypatch.setattr(slicer.packaging, "pip_check", lambda _requirements: False)
        monkeypatch.setattr(slicer.packaging, "pip_install", answers.pip)
    return answers


def test_safetensors_is_installed_after_a_question(driver, ct, answers):
    driver.segment()
    assert len(answers.questions) == 1
    assert "safetensors" in answers.questions[0]
    assert answers.wanted == [["safetensors>=0.4.3"]]
    assert driver.panel.hasSegment


def test_nobody_is_asked_where_nothing_is_missing(driver, ct, there, answers):
    there["safetensors"] = True
    driver.segment()
    assert answers.questions == []


def test_a_refusal_is_respected(driver, ct, answers):
    answers.yes = False
    driver.press_segment()
    assert not driver.panel.busy
    assert answers.wanted == []
    assert driver.message == "Cancelled; nothing was changed."
    driver.press_segment()
    assert len(answers.questions) == 2


@pytest.mark.parametrize(
    "error",
    [
        subprocess.CalledProcessError(1, ["pip", "install"]),
        RuntimeError("another installation is in progress"),
        OSError("no space left on device"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_failure_of_pip_is_one_sentence(driver, ct, answers, error, error_log):
    answers.error = error
    driver.press_segment()
    assert not driver.panel.busy
    assert "safetensors could not be installed" in driver.message
    assert str(error) not in driver.message
    assert str(error) in error_log.take("The installation of .* failed")


def test_an_installation_that_brings_nothing_is_said(driver, ct, answers):
    answers.arrives = False
    driver.press_segment()
    assert not driver.panel.busy
    assert "safetensors could not be installed" in driver.message


def test_a_click_never_asks(driver, ct, answers):
    import vtk

    driver.ui.insideButton.click()
    driver.parameters.clicks.AddControlPointWorld(vtk.vtkVector3d(0, 0, 0))
    driver.pump()
    assert answers.questions == []
    assert not driver.panel.busy
    assert "not installed yet: open the module" in driver.message


def test_the_button_and_the_state_say_what_is_missing(driver, ct, without_torch):
    driver.unfold("advanced")
    assert driver.ui.segmentButton.text == "Open the Extensions Manager..."
    assert "Extensions Manager" in driver.ui.missingLabel.text
    assert "Extensions Manager" in driver.ui.torchLabel.text
    assert not driver.ui.installTorchButton.isHidden()
    assert not driver.ui.installTorchButton.enabled
    without_torch["PyTorchUtils"] = True
    driver.panel.update()
    assert driver.ui.installTorchButton.enabled
    without_torch["torch"] = True
    driver.panel.update()
    assert driver.ui.installTorchButton.isHidden()
    driver.ui.advancedCollapsibleButton.collapsed = True


def test_both_are_installed_one_after_the_other(
    driver,
    ct,
    there,
    without_torch,
    answers,
    monkeypatch,
):
    def install():
        without_torch["torch"] = True
        return sys

    asked = fake_extension(monkeypatch, without_torch, install)
    driver.press_segment()
    assert asked == [True]
    assert answers.wanted == [["safetensors>=0.4.3"]]
    assert "ready" in driver.message
