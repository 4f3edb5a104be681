"""`detector lab tune`: parameters of a model, or of the whole detector, searched by cross-validation in time.

Laws: a trial is scored on periods that follow what it learned, and learns only labels known when they begin
(`splits.by_time`); the newest rows take no part in the search and are asked once, at its end, of the default and of the
best. Finished trials lie in a SQLite file: the same command goes on where it was stopped, up to `trials` in all.

The search is optuna's tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011); a trial that is worse than the
median of those before it after a period or more is given up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detector.adapters.tracker import quiet
from detector.lab import tracking
from detector.lab.artifacts import file_digest
from detector.lab.errors import InputStopped, NotConfigured, WrongUsage
from detector.lab.progress import Steps
from detector.lab.report import Report, plots, told
from detector.lab.tables import open_table
from detector.lab.tuned import DETECTOR, Problem, TunedDetector, TunedModel

COMMAND = "tune"
STARTUP_TRIALS = 8  # at random, before the search learns, and before any is given up
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What to tune, on what, how long. `study`: the SQLite file, beside the output by default."""

    data: Path
    model: str
    output: Path
    trials: int = 30
    folds: int = 3
    config: Path | None = None
    label: str | None = None
    label_delay_ms: int = 0
    holdout: float = 0.2
    seed: int = 42
    rows: int | None = None
    study: Path | None = None
    overwrite: bool = False
    tracking_uri: str | None = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Average precision: of the default and of the best trial, on the periods and on the newest rows."""

    default: float
    best: float
    newest_default: float
    newest_best: float
    parameters: dict[str, Any]

    @property
    def figures(self) -> dict[str, float]:
        """By name."""
        return {
            "default": self.default, "best": self.best,
            "newest_default": self.newest_default, "newest_best": self.newest_best,
        }  # fmt: skip


def run(asked: Asked, tell: Tell) -> None:
    """Leaves the folder `asked.output` with the best parameters and the report. Raises LabError, ConfigError."""
    introduction: list[str] = []

    def heard(line: str) -> None:
        introduction.append(line)
        tell(line)

    problem: Problem = (TunedDetector if asked.model == DETECTOR else TunedModel)(open_table(asked.data), asked, heard)
    name = f"{asked.model} on {asked.data.name}"
    said = {
        "model": asked.model, "trials": asked.trials, "folds": asked.folds, "holdout": asked.holdout,
        "label_delay_ms": asked.label_delay_ms, "seed": asked.seed, "data": asked.data.name,
    }  # fmt: skip
    with tracking.run(COMMAND, name, said, uri=asked.tracking_uri) as tracked:
        with Report(asked.output, f"Tuned: {name}", COMMAND, asked.overwrite) as report:
            study = opened(asked, problem)
            search(study, problem, asked, tracked)
            outcome = outcome_of(study, problem)
            file, text = problem.written(outcome.parameters)
            report.path(file).write_text(text, encoding="utf-8")
            report.figures |= {**said, **outcome.figures, "parameters": outcome.parameters}
            write(report, study, outcome, problem, asked, file, introduction)
        tracked.figures(outcome.figures)
        tracked.parameters({"best": outcome.parameters})
        tracked.artifact(asked.output, "report")
    for line in (*lines_of(outcome), f"best parameters in {asked.output / file}", tracked.told):
        if line:
            tell(line)


def opened(asked: Asked, problem: Problem) -> Any:
    """The study, new or begun before. Raises WrongUsage where it is of something else."""
    path = asked.study or asked.output.with_name(f"{asked.output.name}.study.db")
    with quiet():
        try:
            import optuna
            from sqlalchemy.pool import NullPool
        except ImportError as error:
            raise NotConfigured(f"tuning needs pip install 'streaming-fraud-detector[lab]' ({error})") from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs={"poolclass": NullPool})
            study = optuna.create_study(
                storage=storage, study_name="lab tune", load_if_exists=True, direction="maximize",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=0),
            )  # fmt: skip
        except Exception as error:  # whatever a database makes optuna raise
            reason = str(error).splitlines()[0]
            raise WrongUsage(f"--study {path}: expected a SQLite file of `lab tune`, found: {reason}") from error
        is_of = {
            "data": file_digest(asked.data), "model": asked.model, "folds": asked.folds, "holdout": asked.holdout,
            "label_delay_ms": asked.label_delay_ms, "rows": asked.rows, "features": problem.digest, "seed": asked.seed,
        }  # fmt: skip
        known = study.user_attrs.get("is_of")
        if known is not None and known != is_of:
            differing = ", ".join(name for name in is_of if known.get(name) != is_of[name])
            raise WrongUsage(
                f"--study {path}: expected one of this question, found another's ({differing} differ): name another "
                "file, or remove it"
            )
        if known is None:
            default = mean([value for value, _ in problem.values({})])
            if math.isnan(default):
                raise InputStopped(
                    f"expected frauds in a tested period, found none in any of {asked.folds}: use fewer --folds"
                )
            study.set_user_attr("default", default)
            study.set_user_attr("is_of", is_of)
        done = len(study.trials)
        study.sampler = optuna.samplers.TPESampler(
            seed=asked.seed + done, n_startup_trials=STARTUP_TRIALS, multivariate=True
        )
    return study


def search(study: Any, problem: Problem, asked: Asked, tracked: Any) -> None:
    """Trials until there are `asked.trials` finished ones."""
    import optuna

    def objective(trial: Any) -> float:
        parameters = problem.suggest(trial)
        found: list[float] = []
        with tracking.run(
            COMMAND, f"trial {trial.number}", parameters, uri=asked.tracking_uri, parent=tracked.id
        ) as kept:
            for step, (value, rows) in enumerate(problem.values(parameters)):
                found.append(value)
                trial.report(mean(found), step)
                kept.figures({f"period_{step + 1}": value, "rows": rows})
                if trial.should_prune():
                    kept.figures({"given_up": 1})
                    raise optuna.TrialPruned
            kept.figures({"average_precision": mean(found)})
        return mean(found)

    left = max(0, asked.trials - len(finished(study)))
    with Steps("trials", asked.trials, asked.trials - left) as steps, quiet():
        for _ in range(left):
            study.optimize(objective, n_trials=1, catch=(ValueError,))
            steps.done(f"best {max(best_value(study), study.user_attrs['default']):.4f}")


def finished(study: Any) -> list[Any]:
    """Trials that came to an end: done, given up or failed."""
    return [trial for trial in study.trials if trial.state.is_finished()]


def best_value(study: Any) -> float:
    """Of the trials done; -inf without any."""
    return max((trial.value for trial in study.trials if trial.value is not None and done(trial)), default=-math.inf)


def done(trial: Any) -> bool:
    """Whether it saw all periods."""
    return str(trial.state.name) == "COMPLETE"


def mean(values: Sequence[float]) -> float:
    """Of the periods that hold a fraud; NaN without any."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def outcome_of(study: Any, problem: Problem) -> Outcome:
    """The best trial where it beats the default, else the default itself; and both on the newest rows."""
    default = float(study.user_attrs["default"])
    better = best_value(study) > default
    parameters = problem.given(study.best_trial.params) if better else {}
    newest_default = problem.newest({})
    newest_best = problem.newest(parameters) if better else newest_default
    return Outcome(default, max(best_value(study), default), newest_default, newest_best, parameters)


def lines_of(outcome: Outcome) -> list[str]:
    """For people."""
    lines = [f"average precision over the periods: {outcome.default:.4f} by default, {outcome.best:.4f} tuned"]
    if not math.isnan(outcome.newest_default):
        lines.append(
            f"on the newest rows, which took no part: {outcome.newest_default:.4f} by default, "
            f"{outcome.newest_best:.4f} tuned"
        )
    if not outcome.parameters:
        lines.append("no trial beat the default: more trials, or leave it as it is")
    elif outcome.newest_best < outcome.newest_default:
        lines.append("what was gained on the periods did not hold on the newest rows: distrust it")
    return lines


TILES = {
    "default": "by default, over the periods", "best": "tuned, over the periods",
    "newest_default": "by default, on the newest rows", "newest_best": "tuned, on the newest rows",
}  # fmt: skip


def write(
    report: Report, study: Any, outcome: Outcome, problem: Problem, asked: Asked, file: str, introduction: Sequence[str]
) -> None:
    """The page and the tables."""
    report.text("Figures are average precision: the mean precision at the frauds, from the highest score down.")
    report.tiles({TILES[name]: told(value) for name, value in outcome.figures.items() if not math.isnan(value)})
    report.points([sentence(line) for line in (*lines_of(outcome), *introduction)])
    if outcome.parameters:
        report.section("What is best")
        rows = [[name, problem.default(name), value] for name, value in outcome.parameters.items()]
        taken = "which `detector run` takes" if asked.model == DETECTOR else "which `lab train --parameters` takes"
        report.table("best", ["parameter", "default", "tuned"], rows, f"Written to {file}, {taken}.")
    trials = finished(study)
    if not trials:
        return
    given_up = sum(not done(trial) for trial in trials)
    report.section(
        "How the search went",
        f"{len(trials):,} trials over {asked.folds} periods, each of which follows what was learned for it"
        + (f"; {given_up:,} were given up before the last one." if given_up else "."),
    )
    draw_history(report, trials, outcome.default)
    weights = importances(study)
    if weights:
        draw_importances(report, weights)
    names = sorted({name for trial in trials for name in trial.params})
    rows = [
        [trial.number, trial.state.name.lower(), trial.value, *(trial.params.get(name) for name in names)]
        for trial in trials
    ]
    about = "Pruned trials were worse than the median of those before, and given up: their figure is of fewer periods."
    report.table("trials", ["trial", "state", "average precision", *names], rows, about if given_up else "")


def sentence(line: str) -> str:
    """A line of the terminal as a page has it."""
    return line[0].upper() + line[1:] + "."


def importances(study: Any) -> dict[str, float]:
    """How much of the spread of the values each parameter explains (fANOVA: Hutter, Hoos, Leyton-Brown, ICML 2014).

    None where too few trials differ.
    """
    import optuna

    with quiet():
        try:
            found = optuna.importance.get_param_importances(
                study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
            )
        except (ValueError, RuntimeError):
            return {}
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}


def draw_history(report: Report, trials: Sequence[Any], default: float) -> None:
    """Each trial's value, and the best so far."""
    whole = [trial for trial in trials if done(trial)]
    number, value = [trial.number for trial in whole], [trial.value for trial in whole]
    with plots():
        import matplotlib.pyplot as plt
        from matplotlib.ticker import MaxNLocator

        figure, axes = plt.subplots(figsize=(9.0, 3.0))
        axes.scatter(number, value, s=14, label="a trial")
        if whole:
            axes.step(number, np.maximum.accumulate(value), where="post", label="best so far")
        axes.axhline(default, linestyle=":", color="#6b7686", label="default")
        axes.set(xlabel="trial", ylabel="average precision")
        axes.set_title("Optimisation history")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderaxespad=0.1)
        report.figure("history", figure, "Each trial over all periods; those that were given up are not shown.")


def draw_importances(report: Report, weights: dict[str, float]) -> None:
    """A bar a parameter."""
    with plots():
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(9.0, 0.6 + 0.32 * len(weights)))
        names = sorted(weights, key=weights.__getitem__)
        axes.barh(names, [weights[name] for name in names])
        axes.set(xlabel="share of the spread that it explains")
        axes.grid(axis="y", visible=False)
        axes.set_title("Importance of the parameters")
        report.figure("importance", figure, "What matters little can be left as it is.")
