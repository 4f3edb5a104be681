"""Which models a command runs, from the names that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from detector.codec.encode import member_names
from detector.core.spec import Spec
from detector.lab.catalog import MODELS, absent
from detector.lab.errors import NotConfigured, WrongUsage
from detector.lab.prequential import DETECTOR, MEMBER

ALL, DEFAULT, STREAMING = "all", "default", "streaming"
LABELLED = ("z_score", "isolation_forest", "logistic_regression", "random_forest", "xgboost", STREAMING)
UNLABELLED = ("z_score", "mean_k_sd", "kmeans", "knn", "isolation_forest", "lof", "autoencoder", STREAMING)


@dataclass(frozen=True, slots=True)
class Choice:
    """`models` of the catalog, in its order; `streaming` scores of the detector's pass, the whole of it last; `named`:
    one by one, so that what cannot run is an error; `told` what was left out.
    """

    models: tuple[str, ...]
    streaming: tuple[str, ...]
    named: bool
    told: tuple[str, ...] = ()


def chosen(names: Sequence[str], spec: Spec, labelled: bool) -> Choice:
    """`names` as given with --model; none is `default`. Raises WrongUsage, NotConfigured."""
    members = [f"{MEMBER}{name}" for name in member_names(spec)]
    asked = list(names) or [DEFAULT]
    known = [ALL, DEFAULT, *MODELS, STREAMING, *members, DETECTOR]
    for name in asked:
        if name not in known:
            raise WrongUsage(f"--model {name}: expected some of {', '.join(known)}")
    named = not {ALL, DEFAULT} & set(asked)
    wanted: set[str] = set()
    for name in asked:
        if name == ALL:
            wanted |= {*MODELS, *members, DETECTOR}
        elif name == DEFAULT:
            wanted |= {*(LABELLED if labelled else UNLABELLED)}
        else:
            wanted.add(name)
    if STREAMING in wanted:
        wanted |= {*members, DETECTOR}
    told: dict[str, list[str]] = {}
    models = []
    for name, model in MODELS.items():
        if name not in wanted:
            continue
        lacking = absent(model.needs)
        if model.supervised and not labelled:
            why = "learning needs labels, and no column of them is known: name it with --label"
            fault: type[WrongUsage] | type[NotConfigured] = WrongUsage
        elif lacking:
            why = f"needs {lacking}: pip install 'streaming-fraud-detector[{model.needs}]'"
            fault = NotConfigured
        else:
            models.append(name)
            continue
        if name in asked:
            raise fault(f"--model {name}: {why}")
        told.setdefault(why, []).append(name)
    streaming = tuple(name for name in (*members, DETECTOR) if name in wanted)
    return Choice(
        tuple(models), streaming, named, tuple(f"{', '.join(some)} left out: {why}" for why, some in told.items())
    )
