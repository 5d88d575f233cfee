"""The commands around training: what they show, how they are spelled, and what they answer when the
work is done already. Networks and budgets are tiny."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import typer
from AttentionUNetSegmentLib import models
from AttentionUNetSegmentLib.app import progress_bar
from AttentionUNetSegmentLib.app.commands import application
from AttentionUNetSegmentLib.app.commands.help_text import add_commands, respelled
from AttentionUNetSegmentLib.app.commands.record_options import with_record_options
from AttentionUNetSegmentLib.app.main import main
from AttentionUNetSegmentLib.app.progress_bar import shown_progress
from AttentionUNetSegmentLib.app.terminal import show_on
from AttentionUNetSegmentLib.errors import InputError
from AttentionUNetSegmentLib.evaluation.attention_statistics import read_focus_ratios
from AttentionUNetSegmentLib.networks.precision import parse_precision, uses_bfloat16
from AttentionUNetSegmentLib.training.naming import (
    NO_LICENCE,
    DataTerms,
    Naming,
    complete_card,
    read_data_terms,
)
from AttentionUNetSegmentLib.training.option_fields import option
from AttentionUNetSegmentLib.wording import counted, duration
from data_set_makers import write_pairs
from picture_texts import texts_of
from rich.console import Console
from rich.progress import Progress
from small_cards import card_of
from threshold_model import NETWORK
from typer.testing import CliRunner

LIBRARY = Path(__file__).resolve().parents[2] / "AttentionUNetSegment"
TINY = ("--channels", "4,4,8,8,8", "--patch", "32,32,16", "--device", "cpu")


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def shown_help(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    assert run(*command, "--help") == 0
    return capsys.readouterr().out


# Help


def test_options_of_training_are_shown_in_their_groups(capsys) -> None:
    text = shown_help(capsys, "train")
    headings = re.findall(r"^(\w+):", text, re.MULTILINE)
    assert headings[1:] == [  # after the usage
        *("Arguments", "Options", "Budget", "Model", "Data", "Network", "Loss", "Optimisation"),
        "Augmentation",
    ]
    of_loss = text.partition("\nLoss:")[2].partition("\nOptimisation:")[0]
    assert "--focal" in of_loss
    assert "--noise" not in of_loss


def commands_of(group: object, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], object]]:
    found = []
    for name, command in getattr(group, "commands", {}).items():
        found += [((*path, name), command), *commands_of(command, (*path, name))]
    return found


COMMANDS = dict(commands_of(typer.main.get_command(application)))


@pytest.mark.parametrize("group", [(), ("experiments",), ("models",)])
def test_summaries_of_commands_are_whole(group, capsys) -> None:
    text = " ".join(shown_help(capsys, *group).partition("\nCommands:")[2].split())
    assert "..." not in text
    for path, command in COMMANDS.items():
        if path[:-1] == group:
            first = command.help.split("\n\n")[0].split(". ")[0].rstrip(".")
            assert " ".join(first.split()) in text


def test_sister_options_are_spelled_alike(capsys) -> None:
    """The same thing has one name in every command that has it."""
    options: dict[str, set[str]] = {}
    for path, command in COMMANDS.items():
        for parameter in getattr(command, "params", ()):
            options.setdefault(" ".join(path), set()).update(parameter.opts)
    for command in ("train", "experiments compare", "experiments ablate"):
        assert {"--batch-size", "--spacing-mm", "--gates-open", "--learning-rate"} <= options[
            command
        ]
        assert not {"--batch", "--progressive"} & options[command]
    for command in ("train", "finetune", "evaluate", "experiments compare"):
        assert "--precision" in options[command]
        assert "--data" not in options[command]
    assert "--spacing-mm" in options["models import"]
    for command in ("train", "finetune", "evaluate", "experiments compare"):
        assert "--precision <auto|bfloat16|float32>" in re.sub(
            r"[\[{](auto\|bfloat16\|float32)[\]}]", r"<\1>", shown_help(capsys, *command.split())
        )


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (["--batch", "4"], ["--batch-size", "4"]),
        (["--batch=4"], ["--batch-size=4"]),
        (["--progressive", "x"], ["--gates-open=0.5", "x"]),
        (["--data", "folder", "-o", "run"], ["folder", "-o", "run"]),
        (["--data=folder"], ["folder"]),
        (["--precision", "bf16"], ["--precision", "bfloat16"]),
        (["--precision=bf16"], ["--precision=bfloat16"]),
        (["--precision", "float32"], ["--precision", "float32"]),
        (["bf16", "--", "--batch"], ["bf16", "--", "--batch"]),
    ],
)
def test_old_spellings_are_taken(before, now) -> None:
    old = {
        "--batch": "--batch-size",
        "--progressive": "--gates-open=0.5",
        "--data": "",
        "--precision bf16": "--precision=bfloat16",
    }
    assert list(respelled(before, old)) == now


def test_old_spellings_reach_the_commands(monkeypatch, tmp_path) -> None:
    asked: dict[str, object] = {}

    def compare(experiment, data, output, settings, **options):
        asked.update(settings.to_json())
        raise InputError("enough")

    monkeypatch.setattr("AttentionUNetSegmentLib.experiments.experiment.run_experiment", compare)
    write_pairs(tmp_path / "data")
    old = ("--batch", "3", "--progressive", "--precision", "bf16", "--steps", "5")
    assert run("experiments", "compare", tmp_path / "data", "-o", tmp_path / "out", *old) == 2
    assert (asked["batch"], asked["gates_open_fraction"]) == (3, 0.5)
    assert asked["precision"] == "bfloat16"

    def finetune(model, data, output, options, progress, tell):
        asked.update(data=data, precision=options.precision)
        raise InputError("enough")

    monkeypatch.setattr("AttentionUNetSegmentLib.training.finetuning.finetune_model", finetune)
    assert run("finetune", "--data", tmp_path, "-o", tmp_path / "o", "--precision=bf16") == 2
    assert (asked["data"], asked["precision"]) == (tmp_path, "bfloat16")


def test_each_command_takes_the_alias_of_a_precision(tmp_path, capsys) -> None:
    absent = tmp_path / "absent"
    for command in ("segment", "evaluate"):
        assert run(command, absent, "-o", tmp_path / "out", "--precision", "bf16") == 2
        assert "absent" in capsys.readouterr().err


def test_the_library_takes_the_old_name_of_a_precision_too() -> None:
    import torch

    assert parse_precision("bf16") == "bfloat16"
    assert uses_bfloat16("bf16", torch.device("cpu"))
    assert not uses_bfloat16("float32", torch.device("cpu"))
    with pytest.raises(InputError, match="bfloat16"):
        parse_precision("float16")


# Options that are declared once


@dataclasses.dataclass(frozen=True)
class Knobs:
    """Options of a command that there is in this test only."""

    depth: int | None = option("How deep.", "Network", 1, 9)
    clip_norm: float = option("How long.", "Loss", 0, default=2.5, flag="--clip")
    loose: float | None = option("How loose.")
    sizes: tuple[int, int] | None = option("How large.", "Network", metavar="I,J")
    blur: tuple[float, ...] | None = option("How blurred.", None, 0)
    kind: str = option("Which.", default="one", choices=("one", "two"))
    start_from: str | None = option("Where.", flag="--from", old_spellings={"--begin": "--from"})
    words: tuple[str, ...] = option("What.", default=())
    hidden: float = 0.5


def knobs_command() -> tuple[typer.Typer, list[object]]:
    made: list[object] = []

    @with_record_options
    def turn(data: Annotated[str, typer.Argument()], knobs: Knobs) -> None:
        """Turn the knobs."""
        made.append((data, knobs))

    application = typer.Typer(rich_markup_mode=None)
    add_commands(application, turn)
    return application, made


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", Knobs()),
        ("--depth 3 --clip 1 --kind two", Knobs(depth=3, clip_norm=1.0, kind="two")),
        ("--sizes 4,5 --blur 0,0.5,1", Knobs(sizes=(4, 5), blur=(0.0, 0.5, 1.0))),
        ("--begin a --words b --words c", Knobs(start_from="a", words=("b", "c"))),
    ],
)
def test_fields_of_a_dataclass_are_the_options_of_a_command(given: str, expected: Knobs) -> None:
    application, made = knobs_command()
    result = CliRunner().invoke(application, ["data", *given.split()])
    assert result.exit_code == 0, result.output
    assert made == [("data", expected)]


@pytest.mark.parametrize("given", ["--depth 10", "--kind three", "--hidden 1", "--clip -1"])
def test_what_the_declaration_does_not_allow_is_refused(given: str) -> None:
    application, made = knobs_command()
    assert CliRunner().invoke(application, ["data", *given.split()]).exit_code == 2
    assert made == []


@pytest.mark.parametrize("given", ["--clip inf", "--clip 1e999", "--loose nan", "--loose=-inf"])
def test_a_number_that_is_not_finite_is_refused(given: str) -> None:
    application, made = knobs_command()
    error = CliRunner().invoke(application, ["data", *given.split()]).exception
    assert isinstance(error, InputError)
    assert "finite number" in str(error)
    assert made == []


@pytest.mark.parametrize("given", ["--sizes 4", "--sizes 4,0", "--sizes a,b", "--blur -1"])
def test_a_list_of_numbers_that_is_none_gets_a_sentence(given: str) -> None:
    application, _ = knobs_command()
    error = CliRunner().invoke(application, ["data", *given.split()]).exception
    assert isinstance(error, InputError)
    assert given.split()[0] in str(error)


def test_options_are_shown_in_their_groups_with_range_and_default() -> None:
    application, _ = knobs_command()
    text = CliRunner().invoke(application, ["--help"]).output
    headings = [line.rstrip(":") for line in text.splitlines() if re.match(r"[A-Z]\w+:$", line)]
    assert headings == ["Arguments", "Options", "Network", "Loss"]
    assert re.search(r"--depth <int range> +How deep\. +\[1<=x<=9\]", text)
    assert re.search(r"--clip <float range> +How long\. +\[default: 2\.5; x>=0\]", text)
    assert "--begin" not in text
    assert "hidden" not in text


# What a run tells


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """Data, a run that was trained on it, and the lines that it printed on stderr."""
    data, output = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("runs") / "mine"
    write_pairs(data)
    (data / "LICENSE.txt").write_text("CC BY 4.0\n")
    error = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", error)
        assert run("train", data, "-o", output, "--steps", 5, "--validate-every", 2, *TINY) == 0
    return data, output, error.getvalue().splitlines()


def test_off_a_terminal_training_tells_loss_dice_and_where_its_log_is(finished) -> None:
    _, output, lines = finished
    log = output / "refiner" / "log.jsonl"
    assert f"Training the refiner; its log is {log}" in lines
    assert any(
        re.match(r"refiner, step 2: loss \d\.\d+, Dice \d\.\d+ on 1 validation", x) for x in lines
    )
    (done,) = [line for line in lines if line.startswith("refiner, done")]
    assert re.search(
        r"4 steps in \d+ \w+, loss \d\.\d+, Dice \d\.\d+ on 1 validation case; log: ", done
    )
    assert done.endswith(str(log))
    records = [json.loads(line) for line in log.read_text().splitlines()]
    losses = [record["loss"] for record in records if "loss" in record]
    assert f"loss {losses[-1]:.3f}" in done, "the end of a short run is in its log"


def test_a_finished_run_answers_without_pytorch(finished) -> None:
    data, output, _ = finished
    code = (
        "import sys\n"
        "for name in ('torch', 'monai', 'scipy', 'SimpleITK', 'numpy'): sys.modules[name] = None\n"
        "from AttentionUNetSegmentLib.app.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    asked = ["train", data, "-o", output, "--steps", 5, "--validate-every", 2, *TINY]
    before = (output / "finished.json").read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, asked)],
        env=os.environ | {"PYTHONPATH": str(LIBRARY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Model: {output / 'model'}\n"
    assert "finished; nothing was done" in done.stderr
    assert "refiner, done: 4 steps" in done.stderr
    assert (output / "finished.json").read_bytes() == before


@pytest.mark.parametrize("what", ["option", "data", "model", "record"])
def test_a_run_is_not_finished_where_anything_is_another(
    what, finished, tmp_path, monkeypatch
) -> None:
    import shutil

    data, output, _ = finished
    shutil.copytree(data, tmp_path / "data", copy_function=shutil.copy2)
    shutil.copytree(output, tmp_path / "run", copy_function=shutil.copy2)
    record = json.loads((tmp_path / "run" / "finished.json").read_text())
    asked = record["run"]["asked"]
    asked |= {"data": str(tmp_path / "data"), "output": str(tmp_path / "run")}
    (tmp_path / "run" / "finished.json").write_text(json.dumps(record))
    trained: list[object] = []

    def train(*arguments, **options):
        trained.append(arguments)
        return tmp_path / "run" / "model"

    monkeypatch.setattr("AttentionUNetSegmentLib.training.pipeline.train_model", train)
    command = ["train", tmp_path / "data", "-o", tmp_path / "run", "--steps", 5]
    command += ["--validate-every", 2, *TINY]
    assert run(*command) == 0
    assert trained == [], "a copy is the same run"
    if what == "option":
        command[5] = 6
    elif what == "data":
        next((tmp_path / "data").rglob("*.nii.gz")).touch()
    elif what == "model":
        (tmp_path / "run" / "model" / "weights.safetensors").write_bytes(b"cut short")
    else:
        (tmp_path / "run" / "finished.json").write_text("{")
    assert run(*command) == 0
    assert len(trained) == 1


def test_a_finetuning_that_was_no_better_says_so_again(monkeypatch, capsys, tmp_path) -> None:
    from AttentionUNetSegmentLib.training.finetuning import NotBetter

    calls = []

    def finetune(model, data, output, options, progress, tell):
        calls.append(data)
        raise NotBetter("It is not better.")

    monkeypatch.setattr("AttentionUNetSegmentLib.training.finetuning.finetune_model", finetune)
    (tmp_path / "data").mkdir()
    (tmp_path / "run").mkdir()
    for _ in range(2):
        assert run("finetune", tmp_path / "data", "-o", tmp_path / "run") == 2
        assert "Error: It is not better." in capsys.readouterr().err
    assert len(calls) == 1


def test_a_line_stays_and_a_fraction_comes_now_and_then(capsys) -> None:
    with shown_progress(plain_every_s=3600) as progress:
        progress(0.5, "Working")
        progress.line("Something happened")
    assert capsys.readouterr().err == "Something happened\n"


def test_the_time_left_is_not_told_by_what_an_earlier_run_did(monkeypatch, capsys) -> None:
    """A training that goes on at its half: ten seconds for each further hundredth."""
    clock = [0.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: clock[0])
    console = Console(file=io.StringIO(), force_terminal=True)
    shown = Progress(console=console, get_time=lambda: clock[0], speed_estimate_period=300.0)
    lines, bar = progress_bar._Lines(20.0), progress_bar._Bar(shown)
    for second, fraction in ((5, 0.02), (25, 0.5), (35, 0.51), (45, 0.52), (55, 0.53)):
        clock[0] = float(second)
        for one in (lines, bar):
            one(fraction, "Training")
    assert capsys.readouterr().err == "Training: 50 %\nTraining: 52 %, about 8 min left\n"
    (task,) = shown.tasks
    assert task.time_remaining == pytest.approx(470, rel=0.01)


# What a run says of its network


def test_a_run_whose_log_is_too_short_is_not_said_to_have_no_gates(finished, tmp_path) -> None:
    _, output, _ = finished
    assert len(read_focus_ratios(output).ratios[0]) == 4  # of the whole run, the refiner's
    run = tmp_path / "refiner"
    run.mkdir()
    (run / "log.jsonl").write_text('{"step": 1, "findings": []}\n')
    (run / "options.json").write_text('{"network": {"name": "AttentionUNet"}}')
    from AttentionUNetSegmentLib.errors import TrainingError

    with pytest.raises(TrainingError, match="though its network has gates"):
        read_focus_ratios(tmp_path)
    (run / "options.json").write_text('{"network": {"name": "UNet"}}')
    with pytest.raises(TrainingError, match="has no gates"):
        read_focus_ratios(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (counted(1, "click"), "1 click"),
        (counted(0, "click"), "0 clicks"),
        (counted(2, "study", "studies"), "2 studies"),
        (duration(3.4), "3 s"),
        (duration(600), "10 min"),
        (duration(7200), "2.0 hours"),
    ],
)
def test_numbers_are_written_as_people_write_them(text, expected) -> None:
    assert text == expected


# Tables on a terminal


def test_on_a_terminal_a_table_is_a_table() -> None:
    from rich.console import Console

    markdown = (
        "### Networks\n\nSome **words** and [a link](page.md).\n\n"
        "| case | Dice |\n|---|---|\n| case0031 | 0.9 |\n| **mean** | **10.25** |\n\n"
        "![curves](curves.png)\n![a](b.png) ![c](d.png)\nThe end.\n"
    )
    output = io.StringIO()
    show_on(Console(file=output, width=60, force_terminal=False), markdown)
    lines = [line.rstrip() for line in output.getvalue().splitlines()]
    assert lines == [
        "Networks",
        "",
        "Some words and a link.",
        "",
        "case       Dice",
        "case0031    0.9",
        "mean      10.25",
        "",
        "The end.",
    ]


def test_a_table_that_is_too_wide_comes_in_parts_and_no_cell_is_cut() -> None:
    from rich.console import Console

    names = [f"measure {number}" for number in range(8)]
    markdown = f"| case | clicks | {' | '.join(names)} |\n{'|---' * 10}|\n"
    markdown += f"| case0031 | 1 | {' | '.join(f'0.98765432{number}' for number in range(8))} |\n"
    output = io.StringIO()
    show_on(Console(file=output, width=50, force_terminal=False), markdown)
    text = output.getvalue()
    assert max(map(len, text.splitlines())) <= 50
    assert text.count("case0031") == text.count("clicks") > 1
    for number in range(8):
        assert text.count(f"0.98765432{number}") == 1


# Names of models


def fresh() -> models.ModelCard:
    return card_of(refiner=NETWORK)


def test_a_model_is_called_after_its_run(tmp_path) -> None:
    card = complete_card(fresh(), Naming(), DataTerms(), tmp_path / "my run!")
    assert card.name == "my-run"
    assert card.title.startswith("Pancreas in CT, my-run, 20")
    assert (card.version, card.licence, card.author) == ("0.1.0", NO_LICENCE, "")
    shipped = complete_card(fresh(), Naming(), DataTerms(), tmp_path / models.DEFAULT_MODEL)
    assert re.fullmatch(rf"{models.DEFAULT_MODEL}-\d{{4}}-\d\d-\d\d", shipped.name)


def test_what_a_user_says_counts(tmp_path) -> None:
    naming = Naming("liver-1", "Livers", "3", "CC0", "A hospital", ("A paper",))
    card = complete_card(fresh(), naming, DataTerms("CC BY", "A data set"), tmp_path)
    assert (card.name, card.title, card.version) == ("liver-1", "Livers", "3")
    assert (card.licence, card.author) == ("CC0", "A hospital")
    assert card.citation == ("A data set", "A paper")
    assert (
        models.ModelCard.from_json(
            card.with_weights(models.WeightsFile("w.safetensors", "0" * 64, 1)).to_json()
        ).author
        == "A hospital"
    )


def test_a_version_counts_up_where_a_model_is_trained_on(tmp_path) -> None:
    import dataclasses

    first = complete_card(fresh(), Naming(title="T"), DataTerms(), tmp_path / "a")
    again = complete_card(fresh(), Naming(), DataTerms(), tmp_path / "b", before=first)
    assert (again.name, again.title, again.version) == ("a", "T", "0.1.0")
    further = dataclasses.replace(fresh(), training={"done": {"refiner": {"steps": 9}}})
    card = complete_card(further, Naming(), DataTerms(), tmp_path / "a", before=first)
    assert card.version == "0.2.0"
    started = complete_card(further, Naming(), DataTerms("CC BY"), tmp_path / "c", start=first)
    assert (started.name, started.version) == ("c", "0.2.0")
    assert started.licence.startswith(NO_LICENCE)
    assert "CC BY" in started.licence


@pytest.mark.parametrize(
    ("files", "licence", "reference"),
    [
        ({}, None, None),
        (
            {"dataset.json": '{"licence": "CC-BY-SA 4.0", "reference": "A paper"}'},
            "CC-BY-SA 4.0",
            "A paper",
        ),
        ({"manifest.json": '{"license": " MIT "}'}, "MIT", None),
        (
            {"LICENSE": "\n# \nApache License\nVersion 2.0\n"},
            "Apache License (LICENSE of the data)",
            None,
        ),
        ({"dataset.json": "{", "license.md": "Own"}, "Own (license.md of the data)", None),
        ({"case0005_ct.nii.gz": "", "case0005_organs.nii.gz": ""}, None, None),
    ],
)
def test_terms_are_what_the_datas_own_files_say(files, licence, reference, tmp_path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert read_data_terms(tmp_path) == DataTerms(licence, reference)


def test_a_trained_model_says_all_that(finished) -> None:
    card = models.read_card(finished[1] / "model")
    assert card.name == "mine"
    assert "CC BY 4.0 (LICENSE.txt of the data)" in card.licence
    assert "BTCV" not in card.to_json()


@pytest.mark.parametrize(
    "wrong", [{"name": "a/b"}, {"name": ""}, {"title": " "}, {"version": "v" * 65}]
)
def test_a_name_that_no_card_takes_is_refused_before_the_work(wrong) -> None:
    with pytest.raises(InputError):
        Naming(**wrong).check()


# The list of models


@pytest.fixture
def own(monkeypatch, tmp_path) -> Path:
    folder = tmp_path / "own models"
    monkeypatch.setenv(models.USER_MODELS_VARIABLE, str(folder))
    return folder


def test_a_trained_model_is_installed_listed_shown_and_removed(finished, own, capsys) -> None:
    trained = finished[1] / "model"
    assert run("models", "install", trained) == 0
    assert (own / "mine" / "model.json").is_file()
    assert run("models", "install", trained) == 2
    assert "--replace" in capsys.readouterr().err
    assert run("models", "install", trained, "--name", "other") == 0
    assert run("models", "install", trained, "--replace") == 0
    capsys.readouterr()

    assert run("models") == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [model.card.name for model in models.installed_models()]
    assert [line.split()[0] for line in lines[::3]] == listed
    assert len(lines) == 3 * len(listed)
    sha256 = models.read_card(trained).weights.sha256
    at = 3 * listed.index("mine")
    assert lines[at + 1].startswith("  label 1; locator 6 x 6 x 6 mm, refiner 2 x 2 x 3 mm; takes")
    assert sha256[:8] in lines[at + 2]
    assert str(own / "mine") in lines[at + 2]

    assert run("models", "--json") == 0
    (mine,) = [one for one in json.loads(capsys.readouterr().out) if one["name"] == "mine"]
    assert (mine["sha256"], mine["of_extension"]) == (sha256, False)
    assert run("models", "show", "mine") == 0
    assert f"SHA-256 {sha256}" in capsys.readouterr().out
    assert run("models", "show", "mine", "--json") == 0
    assert json.loads(capsys.readouterr().out)["name"] == "mine"

    assert run("models", "remove", "mine") == 2
    assert "--yes" in capsys.readouterr().err
    assert run("models", "remove", "mine", "--yes") == 0
    assert [path.name for path in own.iterdir()] == ["other"]
    for name in ("mine", models.DEFAULT_MODEL, str(trained)):
        assert run("models", "remove", name, "--yes") == 2
    assert trained.is_dir()


def test_a_model_of_the_extension_is_not_covered(finished, own, capsys) -> None:
    assert run("models", "install", finished[1] / "model", "--name", models.DEFAULT_MODEL) == 2
    assert "model of the extension" in capsys.readouterr().err
    assert run("models", "install", finished[0]) == 2
    assert not own.exists() or not any(own.iterdir())


def test_a_reader_that_has_enough_ends_it_quietly(tmp_path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "AttentionUNetSegmentLib.app", "models", "show", "pancreas-ct"],
        env=os.environ | {"PYTHONPATH": str(LIBRARY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait() == 0


def test_the_size_of_a_model_is_that_of_all_its_weights(capsys) -> None:
    assert main(["models", "--json"]) == 0
    (shipped,) = (one for one in json.loads(capsys.readouterr().out) if one["of_extension"])
    files = [file.stat().st_size for file in Path(shipped["folder"]).glob("*.safetensors")]
    assert len(files) == 2
    assert shipped["megabytes"] == round(sum(files) / 1e6, 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", ["models", "--version", "models show pancreas-ct"])
def test_an_output_that_finds_no_room_gets_one_sentence(command: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "AttentionUNetSegmentLib.app", *command.split()],
            env=os.environ | {"PYTHONPATH": str(LIBRARY)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("Error: What was to be written or printed found no room")


def test_the_picture_tells_the_weights() -> None:
    from AttentionUNetSegmentLib.app.overlay import draw_overlay
    from AttentionUNetSegmentLib.inference import Prediction, Volume
    from AttentionUNetSegmentLib.inference.scan_segmenter import EMPTY_REGION

    volume = Volume(np.zeros((4, 5, 6), np.int16), np.eye(4))
    prediction = Prediction(
        volume,
        np.zeros((4, 5, 6), np.uint8),
        EMPTY_REGION,
        False,
        0.0,
        (),
        {},
        "CPU",
        (),
        "mine",
        "2",
        model_sha256="0123456789abcdef",
    )
    texts = texts_of(lambda: draw_overlay(prediction, "a"))
    assert "Model mine 2 (01234567)" in texts


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (("--gamma", "2,1"), "--gamma takes the low end of a range first: 1,2, not 2,1."),
        (("--blur", "1,0.4"), "--blur takes the low end of a range first: 0.4,1, not 1,0.4."),
        (("--elastic-mm", "1e9"), "Invalid value for '--elastic-mm'"),
    ],
)
def test_augmentation_that_makes_no_sense_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: tuple[str, str], told: str
) -> None:
    assert run("train", tmp_path, "-o", tmp_path / "run", "--steps", 1, *option) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()
