"""How far a model's word on its own results can be trusted, and the estimate in its card.

Labelled scans are segmented as they are and spoilt. From the figures of each result its Dice is
estimated by a fit on other patients; the card gets the fit on all of them. Scans that the model
was trained on are never fitted on, and are reported apart.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.cases import LabelledCase
from ..datasets.loading import find_cases, find_data_set, load_case
from ..errors import InputError, TrainingError
from ..files import explain_write_errors, replace_text, require_takes_results
from ..inference.coarse_to_fine import locator_view
from ..inference.features import SCALE_AGREEMENT
from ..inference.mirrored import BEGINNING, CLEARLY, measure_disorder
from ..inference.prediction import Prediction
from ..inference.predictor import Predictor
from ..inference.progress import ProgressCallback, ignore_progress
from ..inference.quality import UNSURE
from ..inference.session import Session
from ..markdown import markdown_table
from ..models import (
    LARGEST_BYTES,
    DiceEstimator,
    find_model,
    load_model,
    require_writable,
    save_model,
)
from ..wording import counted
from .estimation import (
    COVERAGE,
    area_under_curve,
    cross_validate,
    estimate_by_others,
    fit_logistic,
    folds_by_patient,
    risk_coverage,
    widened_interval,
)
from .evaluate import is_seen
from .metrics import dice
from .simulated_user import click_on_largest_error
from .spoiling import AS_IT_IS, MIRRORED, ORIENTATIONS, spoilings

RUNS_FILE = "runs.jsonl"
LEAST_PATIENTS = 10
"""That were not trained on, for an estimate to be fitted on them."""
GOOD, BAD = 0.7, 0.5
"""From this Dice on a result is called good, and below that one bad."""
FIXED_FEATURES = ("soft_dice_logit", "log_pieces", "log_ml", SCALE_AGREEMENT)
AROUND = "attention_around_"
PLACES, WITHIN_MM = 3, 10.0
RANDOM_DRAWS = 5
ALWAYS_CHECKED = -30.0
"""A disorder below all that there are."""


@dataclass(frozen=True)
class Run:
    """A result on a case that may have been spoilt.

    Args:
        seen: the model was trained on the case.
        whole: the organ was looked for in the whole scan, not in a region.
        dice: against the truth; 0 where nothing was found of what is there.
        features: of the result; None where nothing was found.
        disorder: of the organs that the locator sees; None where it saw too little.
        found_errors: share of the wrong voxels near the first places.
        random_errors: the same of as many random places on the outline.
        clicks: how many of an ideal user it was mended by.
    """

    case: str
    patient: str
    change: str
    seen: bool
    whole: bool
    dice: float
    found: bool
    warnings: tuple[str, ...]
    features: Mapping[str, float] | None
    disorder: float | None = None
    found_errors: float | None = None
    random_errors: float | None = None
    clicks: int = 0

    @property
    def told_orientation(self) -> bool:
        return any(warning.startswith(BEGINNING) for warning in self.warnings)


@dataclass(frozen=True)
class TrustReport:
    """What came out.

    Args:
        runs: all of them.
        estimator: fitted on the unseen cases; None where there are too few.
        estimates: of the unseen runs with a result, by a fit on other patients, in their order.
        clicked, clicked_estimates: the same of what clicks mended, which is not fitted on.
        refused: case and change of what was taken for no CT.
        notes: what was taken for granted of the data, a sentence each.
    """

    model: str
    version: str
    data: str
    machine: str
    runs: tuple[Run, ...]
    estimator: DiceEstimator
    estimates: np.ndarray
    refused: tuple[tuple[str, str], ...] = ()
    fitted: list[Run] = field(default_factory=list)
    clicked: list[Run] = field(default_factory=list)
    clicked_estimates: np.ndarray = field(default_factory=lambda: np.zeros(0))
    notes: tuple[str, ...] = ()

    @property
    def true(self) -> np.ndarray:
        return np.array([run.dice for run in self.fitted])

    def is_warned(self, number: int) -> bool:
        """Whether a result has a warning: that of its estimate by other patients takes the place of
        that of its mean probability."""
        others = [one for one in self.fitted[number].warnings if not one.startswith(UNSURE)]
        return bool(others) or bool(self.estimates[number] < self.estimator.usual)

    def rows(self) -> dict[str, np.ndarray]:
        """Which of the fitted runs are as they are, and which spoilt."""
        plain = np.array([run.change == AS_IT_IS for run in self.fitted])
        return {"all": np.ones(len(plain), bool), AS_IT_IS: plain, "spoilt": ~plain}


def measure_trust(
    model: str,
    data: Path,
    output: Path,
    *,
    changes: int = 4,
    clicks: int = 3,
    device: str = "auto",
    precision: str = "auto",
    write_card: bool = False,
    progress: ProgressCallback | None = None,
) -> TrustReport:
    """Segment labelled scans as they are and spoilt, fit the estimate of the Dice, and report.

    Args:
        model: an installed model's name or a folder; its card says what it was trained on.
        data: a folder of any layout; all of its cases are used.
        output: gets ``trust.md``, ``trust.json``, ``calibration.png`` and ``runs.jsonl``, from
            which a run that was stopped goes on.
        changes: in how many ways each case is spoilt, drawn by its name; a whole scan is mirrored
            and turned in all ways beside.
        clicks: of an ideal user, after which the results on unseen scans as they are get estimates,
            too.
        write_card: write the fit into the model's card.

    Raises:
        ModelError: the model cannot be loaded.
        TrainingError: the data cannot be read, or too few of its cases are unseen.
        OutputError: the results cannot be written; what was measured until then is kept.
    """
    report = progress or ignore_progress
    require_takes_results(output)
    predictor = Predictor(load_model(find_model(model)), device, precision)
    if write_card:
        require_writable(predictor.model.folder)
    card = predictor.card
    usual = card.usual
    if usual.organ_disorder is None:
        usual = dataclasses.replace(usual, organ_disorder=ALWAYS_CHECKED)
    # The estimate is fitted anew; the one that there is must not warn.
    predictor.card = dataclasses.replace(card, dice_estimate=None, usual=usual)
    found = find_data_set(data)
    if not found.hounsfield:
        raise TrainingError(f"'{data}' holds pictures, not CT in Hounsfield units.")
    found = found.relabelled([label.name for label in card.labels], card.target)
    train, validation = find_cases(found)
    # What the estimate is fitted on first, and the quicker ones of it.
    files = sorted(
        [*train, *validation],
        key=lambda one: (is_seen(one.name, card.training), one.kind == "scan", one.name),
    )
    too_few = (
        f"Of the cases of '{data}' fewer than {LEAST_PATIENTS} patients were not trained on; the "
        "estimate of the Dice needs more."
    )
    unseen = {one.patient or one.name for one in files if not is_seen(one.name, card.training)}
    if len(unseen) < LEAST_PATIENTS:
        raise TrainingError(too_few)
    output.mkdir(parents=True, exist_ok=True)
    done = _Records(output / RUNS_FILE, card.weights.sha256 if card.weights else "")
    for number, case_files in enumerate(files):
        seen = is_seen(case_files.name, card.training)
        report(0.95 * number / len(files), f"Segmenting {case_files.name}")
        case = load_case(case_files)
        for change in _chosen_changes(case, seen, changes):
            if (case.name, change) not in done:
                more = clicks if change == AS_IT_IS and not seen else 0
                done.add(case.name, change, _run(predictor, case, change, seen, more))
    runs = [run for run in done.runs if run.clicks == 0]
    fitted = [run for run in runs if not run.seen and run.features is not None]
    patients = {run.patient for run in fitted}
    clicked = [run for run in done.runs if run.clicks and run.features and run.patient in patients]
    if len(patients) < LEAST_PATIENTS:  # some were refused as no CT
        raise TrainingError(too_few)
    machine = f"{platform.system()} {platform.machine()}, {predictor.device.type}"
    result = _fit(card.name, card.version, data.name, machine, runs, fitted, clicked, done.refused)
    result = dataclasses.replace(result, notes=found.notes)
    from .trust_figures import draw_calibration

    kinds = {name: rows for name, rows in result.rows().items() if name != "all"}
    with explain_write_errors(output):
        replace_text(output / "trust.json", json.dumps(result_json(result), indent=1) + "\n")
        replace_text(output / "trust.md", to_markdown(result))
        draw_calibration(
            result.true,
            result.estimates,
            result.estimator.interval,
            kinds,
            output / "calibration.png",
        )
    if write_card:
        usual = card.usual
        if (limit := disorder_limit(runs)) is not None:
            usual = dataclasses.replace(usual, organ_disorder=limit)
        card = dataclasses.replace(card, dice_estimate=result.estimator, usual=usual)
        save_model(predictor.model.folder, card, predictor.model.networks, LARGEST_BYTES)
    report(1.0, "Done")
    return result


def disorder_limit(runs: Sequence[Run]) -> float | None:
    """The disorder above which a scan's orientation is looked at: a little below the least of the
    scans whose orientation is wrong; None where there are none."""
    wrong = [
        run.disorder for run in runs if run.change in ORIENTATIONS and run.disorder is not None
    ]
    return round(min(wrong) - 2 * CLEARLY, 2) if wrong else None


class _Records:
    """The runs in a file, a line each; the first line tells the model and the features weighed."""

    def __init__(self, path: Path, sha256: str) -> None:
        self.path = path
        self.runs: list[Run] = []
        self.refused: list[tuple[str, str]] = []
        self._done: set[tuple[str, str]] = set()
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        head = {"weights_sha256": sha256, "features": [*FIXED_FEATURES]}
        try:
            contents = [json.loads(line) for line in lines]
        except ValueError as error:
            raise InputError(f"'{path}' is damaged; delete it.") from error
        if contents and contents[0] != head:
            raise InputError(
                f"'{path}' is of another model, or of another version of this program; "
                "choose another folder or delete it."
            )
        self._contents = contents or [head]
        if not contents:
            self._write()
        for content in contents[1:]:
            self._keep(content)

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self._done

    def add(self, case: str, change: str, runs: Sequence[Run]) -> None:
        """What came out of a change of a case, together; nothing where it was refused."""
        contents: list[dict[str, Any]] = [dataclasses.asdict(run) for run in runs]
        contents = contents or [{"case": case, "change": change, "refused": True}]
        self._contents += contents
        self._write()
        for content in contents:
            self._keep(content)

    def _write(self) -> None:
        """All of it, whole or not at all: a run that is killed meanwhile leaves no half of a line,
        and no line of a change without the others.

        Raises:
            OutputError: it cannot be written; what was there before is.
        """
        with explain_write_errors(self.path.parent):
            replace_text(
                self.path, "".join(json.dumps(content) + "\n" for content in self._contents)
            )

    def _keep(self, content: dict[str, Any]) -> None:
        self._done.add((content["case"], content["change"]))
        if content.get("refused"):
            self.refused.append((content["case"], content["change"]))
        else:
            self.runs.append(Run(**content | {"warnings": tuple(content["warnings"])}))


def _chosen_changes(case: LabelledCase, seen: bool, changes: int) -> list[str]:
    """Whole scans are always turned as well; of those that were trained on, that is all, and of
    regions that were trained on there is nothing to learn."""
    whole = case.kind == "scan"
    if seen:
        return [AS_IT_IS, *MIRRORED] if whole else []
    always = list(ORIENTATIONS) if whole else []
    names = [name for name in spoilings(case) if name not in always]
    drawn = np.random.default_rng(zlib.crc32(case.name.encode())).permutation(len(names))
    return [AS_IT_IS, *always, *(names[number] for number in sorted(drawn[:changes]))]


def _run(
    predictor: Predictor, case: LabelledCase, change: str, seen: bool, clicks: int
) -> list[Run]:
    """Segment a case after a change, and mend it by clicks; nothing where it is taken for no CT."""
    target = predictor.target_label
    if change != AS_IT_IS:
        case = spoilings(case)[change](case, target)
    truth = case.labels.array == target
    k, j, i = (slice(0, size) for size in case.ct.array.shape)
    region = case.ct.grid.bounds.fits_in(predictor.card.search.largest_box_mm)
    session = Session(
        predictor, case.ct, interest=(k, j, i) if region else None, compare_scales=True
    )
    try:
        prediction = session.predict()
    except InputError:
        return []
    disorder = None
    if not region and predictor.has_locator and change in (AS_IT_IS, *ORIENTATIONS):
        scan, _ = locator_view(predictor, case.ct, case.ct.grid.bounds)
        disorder = measure_disorder(predictor.run_locator(scan, [])[0].cpu().numpy())
    mask = prediction.mask != 0
    near, by_chance = _errors_near_places(prediction, mask, truth)
    run = Run(
        case=case.name,
        patient=case.patient or case.name,
        change=change,
        seen=seen,
        whole=not region,
        dice=dice(mask, truth),
        found=prediction.found,
        warnings=prediction.warnings,
        features=session.features,
        disorder=disorder,
        found_errors=near,
        random_errors=by_chance,
    )
    return [run, *_runs_after_clicks(session, run, prediction, truth, clicks)]


def _runs_after_clicks(
    session: Session, run: Run, prediction: Prediction, truth: np.ndarray, clicks: int
) -> Iterator[Run]:
    """What is left after each click at the largest mistake."""
    for number in range(1, clicks + 1):
        click = click_on_largest_error(prediction.mask != 0, truth, prediction.volume)
        if click is None:
            return
        prediction = session.add_click(click.position_ras, click.inside).prediction
        yield dataclasses.replace(
            run,
            clicks=number,
            dice=dice(prediction.mask != 0, truth),
            found=prediction.found,
            warnings=prediction.warnings,
            features=session.features,
            disorder=None,
            found_errors=None,
            random_errors=None,
        )


def _errors_near_places(
    prediction: Prediction, mask: np.ndarray, truth: np.ndarray
) -> tuple[float | None, float | None]:
    """Share of the wrong voxels within :data:`WITHIN_MM` of the first places, and of as many random
    ones on the outline; None where nothing is wrong or no place was named."""
    from scipy.ndimage import binary_erosion

    grid = prediction.volume.grid
    wrong = grid.position_of(np.argwhere(mask != truth)[:, ::-1])
    outline = grid.position_of(np.argwhere(mask & ~binary_erosion(mask))[:, ::-1])
    places = [place.position_ras for place in prediction.doubtful_places[:PLACES]]
    if not len(wrong) or not len(outline) or not places:
        return None, None
    random = np.random.default_rng(0)
    draws = [outline[random.integers(len(outline), size=PLACES)] for _ in range(RANDOM_DRAWS)]
    return (
        share_near(wrong, np.array(places)),
        float(np.mean([share_near(wrong, draw) for draw in draws])),
    )


def share_near(points: np.ndarray, places: np.ndarray, within_mm: float = WITHIN_MM) -> float:
    """Share of some points (N, 3) that lie near any of the places (M, 3)."""
    near = np.zeros(len(points), bool)
    for place in places:
        near |= ((points - place) ** 2).sum(axis=1) <= within_mm**2
    return float(near.mean())


def _fit(
    name: str,
    version: str,
    data: str,
    machine: str,
    runs: Sequence[Run],
    fitted: list[Run],
    clicked: list[Run],
    refused: Sequence[tuple[str, str]],
) -> TrustReport:
    names = feature_names(fitted)
    features, true = feature_rows(fitted, names), np.array([run.dice for run in fitted])
    patients = [run.patient for run in fitted]
    estimates = cross_validate(features, true, patients)
    clicked_estimates = estimate_by_others(
        features,
        true,
        patients,
        feature_rows(clicked, names),
        [run.patient for run in clicked],
    )
    fit = fit_logistic(features, true)
    interval, within = widened_interval(estimates, true, patients)
    area = area_under_curve(true < GOOD, -estimates)
    measured = {
        "data": data,
        "patients": len(set(patients)),
        "runs": len(fitted),
        "folds": int(folds_by_patient(patients).max()) + 1,
        "mean_absolute_error": round(float(np.abs(estimates - true).mean()), 3),
        "auc_dice_below_0.7": None if np.isnan(area) else round(area, 3),
        "share_within_interval": round(within, 3),
    }
    estimator = DiceEstimator(
        coefficients={
            one: round(float(weight), 5) for one, weight in zip(names, fit.weights, strict=True)
        },
        intercept=round(fit.intercept, 5),
        interval=interval,
        usual=GOOD,
        measured=measured,
    )
    return TrustReport(
        name,
        version,
        data,
        machine,
        tuple(runs),
        estimator,
        estimates,
        tuple(refused),
        fitted,
        clicked,
        clicked_estimates,
    )


def feature_names(runs: Sequence[Run]) -> list[str]:
    """Those that are weighed: the attention around the organ is there by the model's levels."""
    first = runs[0].features or {}
    return [*FIXED_FEATURES, *sorted(name for name in first if name.startswith(AROUND))]


def feature_rows(runs: Sequence[Run], names: Sequence[str]) -> np.ndarray:
    rows = [[(run.features or {})[name] for name in names] for run in runs]
    return np.array(rows, dtype=float).reshape(len(runs), len(names))


# The report


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def result_json(result: TrustReport) -> dict[str, Any]:
    """All that the report tells, ready for JSON."""
    return {
        "model": result.model,
        "version": result.version,
        "machine": result.machine,
        **({"notes": list(result.notes)} if result.notes else {}),
        "estimator": dataclasses.asdict(result.estimator),
        "runs": [
            {**dataclasses.asdict(run), "estimate": float(estimate)}
            for run, estimate in zip(
                [*result.fitted, *result.clicked],
                [*result.estimates, *result.clicked_estimates],
                strict=True,
            )
        ],
    }


def to_markdown(result: TrustReport) -> str:
    """The tables of the report."""
    fitted, true, estimates = result.fitted, result.true, result.estimates
    patients = len({run.patient for run in fitted})
    lines = [
        f"Model {result.model} {result.version}, {result.machine}: {len(fitted)} results on "
        f"{patients} patients of {result.data} that it was not trained on; each estimate by a fit "
        f"on other patients ({result.estimator.measured['folds']} folds).",
        *(f"\n{note}" for note in result.notes),
        "",
        *_estimate_table(result),
        "",
        *_clicks_table(result),
        *_feature_table(fitted, true, estimates),
        "",
        *_warnings(result),
        "",
        *_orientation_table(result.runs),
        "",
        *_places(fitted, true),
    ]
    seen = [run for run in result.runs if run.seen and run.features and run.change == AS_IT_IS]
    if seen:
        names = list(result.estimator.coefficients)
        values = [
            result.estimator.estimate(dict(zip(names, row, strict=True))).value
            for row in feature_rows(seen, names)
        ]
        error = float(np.mean([abs(v - run.dice) for v, run in zip(values, seen, strict=True)]))
        mean = float(np.mean([run.dice for run in seen]))
        lines += [
            "",
            f"For comparison, {counted(len(seen), 'case')} that the model was trained on, as they "
            f"are: mean Dice {mean:.3f}, estimated {np.mean(values):.3f}, mean absolute error "
            f"{error:.3f}.",
        ]
    return "\n".join(lines).rstrip() + "\n"


def _estimate_table(result: TrustReport) -> list[str]:
    fitted, true, estimates = result.fitted, result.true, result.estimates
    rows = []
    for name, chosen in result.rows().items():
        if not chosen.any():
            continue
        some = [run for run, one in zip(fitted, chosen, strict=True) if one]
        error = np.abs(estimates[chosen] - true[chosen])
        of = [
            error[[run.patient == one for run in some]].mean() for one in {r.patient for r in some}
        ]
        curve = risk_coverage(estimates[chosen], true[chosen])
        rows.append(
            [
                name,
                str(int(chosen.sum())),
                f"{true[chosen].mean():.3f}",
                f"{error.mean():.3f}",
                f"{np.mean(of):.3f}",
                f"{(estimates[chosen] - true[chosen]).mean():+.3f}",
                f"{area_under_curve(true[chosen] < GOOD, -estimates[chosen]):.3f}",
                f"{area_under_curve(true[chosen] < BAD, -estimates[chosen]):.3f}",
                f"{curve.mean():.3f}",
                f"{curve[max(0, round(0.8 * len(curve)) - 1)]:.3f}",
            ]
        )
    within = result.estimator.measured["share_within_interval"]
    return [
        *markdown_table(
            [
                "results",
                "number",
                "mean Dice",
                "mean absolute error",
                "per patient",
                "bias",
                f"AUC, Dice < {GOOD}",
                f"AUC, Dice < {BAD}",
                "area under risk-coverage",
                "1 - Dice of the surest 80 %",
            ],
            rows,
        ),
        "",
        f"The interval, which is to hold {_percent(COVERAGE)}, held {_percent(within)} of the "
        "results of other patients.",
    ]


def _clicks_table(result: TrustReport) -> list[str]:
    """How good the estimate is after clicks, of which it was fitted on none."""
    rows = []
    for number in sorted({run.clicks for run in result.clicked}):
        chosen = np.array([run.clicks == number for run in result.clicked])
        true = np.array([run.dice for run in result.clicked])[chosen]
        estimates = result.clicked_estimates[chosen]
        ends = [result.estimator.interval.at(float(one)) for one in estimates]
        held = [low <= one <= high for one, (low, high) in zip(true, ends, strict=True)]
        rows.append(
            [
                str(number),
                str(int(chosen.sum())),
                f"{true.mean():.3f}",
                f"{np.abs(estimates - true).mean():.3f}",
                f"{(estimates - true).mean():+.3f}",
                _percent(float(np.mean(held))),
            ]
        )
    if not rows:
        return []
    head = ["clicks", "number", "mean Dice", "mean absolute error", "bias", "within the interval"]
    return [
        "Scans as they are, mended by an ideal user's clicks, which are not fitted on:",
        "",
        *markdown_table(head, rows),
        "",
    ]


def _feature_table(fitted: Sequence[Run], true: np.ndarray, estimates: np.ndarray) -> list[str]:
    """What the estimate tells, also without the second look, and each figure by itself."""
    one_look = [name for name in feature_names(fitted) if name != SCALE_AGREEMENT]
    patients = [run.patient for run in fitted]
    without = cross_validate(feature_rows(fitted, one_look), true, patients)
    rows = [
        [
            name,
            f"{area_under_curve(true < GOOD, -values):.3f}",
            f"{np.abs(values - true).mean():.3f}",
        ]
        for name, values in (("the estimate", estimates), ("without the second look", without))
    ]
    for name in fitted[0].features or {}:
        values = np.array([(run.features or {})[name] for run in fitted])
        area = area_under_curve(true < GOOD, -values)
        high_is_bad = " (high is bad)" if area < 0.5 else ""
        rows.append([name, f"{max(area, 1 - area):.3f}{high_is_bad}", ""])
    return markdown_table(["figure", f"AUC, Dice < {GOOD}", "mean absolute error"], rows)


def _warnings(result: TrustReport) -> list[str]:
    fitted, true = result.fitted, result.true
    warned = np.array([result.is_warned(number) for number in range(len(fitted))])
    plain = result.rows()[AS_IT_IS]
    empty = [run for run in result.runs if not run.seen and run.features is None]
    silent = [run for run in empty if not run.warnings]
    bad, low = true < BAD, result.estimates < result.estimator.usual
    good = plain & (true >= GOOD)
    lines = [
        f"Of {int(bad.sum())} results with a Dice below {BAD}, {int((bad & ~warned).sum())} had no "
        f"warning ({int((bad & ~low).sum())} none by their estimate); {len(empty)} more were "
        f"empty, {len(silent)} of them without a warning, and {len(result.refused)} scans were "
        f"refused as no CT. Of {int(good.sum())} good results (Dice {GOOD} and more) on scans as "
        f"they are, {int((good & warned).sum())} had one ({int((good & low).sum())} by their "
        "estimate).",
    ]
    rows = [
        [run.case, run.change, f"{run.dice:.2f}", f"{estimate:.2f}"]
        for run, estimate, no in zip(fitted, result.estimates, bad & ~warned, strict=True)
        if no
    ]
    if rows:
        lines += ["", *markdown_table(["without a warning", "change", "Dice", "estimate"], rows)]
    return lines


def _orientation_table(runs: Sequence[Run]) -> list[str]:
    """How often each orientation was told as wrong: of whole scans, seen or not, and of parts."""
    whole = [run for run in runs if run.whole]
    rows = []
    for change in (AS_IT_IS, *ORIENTATIONS):
        row = [change]
        for seen in (False, True):
            some = [run for run in whole if run.change == change and run.seen is seen]
            row.append(f"{sum(run.told_orientation for run in some)} of {len(some)}")
        found = [run.disorder for run in whole if run.change == change and run.disorder is not None]
        row.append(f"{min(found):.2f} to {max(found):.2f}" if found else "")
        rows.append(row)
    others = [
        run
        for run in runs
        if run.change not in ORIENTATIONS and not (run.whole and run.change == AS_IT_IS)
    ]
    told = sum(run.told_orientation for run in others)
    limit = disorder_limit(runs)
    plain = [run.disorder for run in whole if run.change == AS_IT_IS and run.disorder is not None]
    again = sum(disorder > (ALWAYS_CHECKED if limit is None else limit) for disorder in plain)
    return [
        *markdown_table(
            ["told to be mirrored or turned", "not trained on", "trained on", "disorder"], rows
        ),
        "",
        f"Of {len(others)} other runs (spoilt otherwise, cut, or regions) {told} were told so. By "
        f"the limit of the card, {again} of {counted(len(plain), 'scan')} as they are have to be "
        "shown to the locator again.",
    ]


def _places(fitted: Sequence[Run], true: np.ndarray) -> list[str]:
    def mean(name: str, chosen: Callable[[Run], bool]) -> str:
        values = [getattr(run, name) for run in fitted if chosen(run)]
        values = [value for value in values if value is not None]
        return _percent(float(np.mean(values))) if values else "none"

    def usual(run: Run) -> bool:
        return run.change == AS_IT_IS

    return [
        f"Within {WITHIN_MM:.0f} mm of the first {PLACES} doubtful places lie "
        f"{mean('found_errors', usual)} of the wrong voxels of scans as they are "
        f"({mean('random_errors', usual)} near {PLACES} random places on the outline), and "
        f"{mean('found_errors', lambda run: not usual(run))} of those of spoilt ones "
        f"({mean('random_errors', lambda run: not usual(run))})."
    ]
