"""Law, mass adds: profiles learned on two parts of a stream, merged, equal the profile learned on the whole.

Tasks meet between two pivots: the parts may be any rows in any order, as long as they share a reference.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core import profile
from detector.core.models import Arrays, Member
from detector.core.spec import Spec
from detector.core.state import compile_plan
from detector.core.turns import FILLED, PASSED
from tests.streams import SPECS, codes, examples, run, stream


def copied(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in arrays.items()}


def learn(member: Member, arrays: Arrays, rows: np.ndarray, taken: np.ndarray) -> None:
    member.learn(arrays, rows, member.score(arrays, rows, np.empty(len(rows))), taken)


@pytest.mark.parametrize("name", sorted(SPECS))
@examples(50, 10)
@given(codes(), st.integers(0, 10**6), st.booleans())
def test_law_mass_adds(name: str, rows: list[int], seed: int, pivoted: bool) -> None:
    spec = SPECS[name]
    state, _ = run(spec, [stream(spec, rows)])
    random = np.random.RandomState(seed)
    for member, arrays in zip(state.plan.members, state.members, strict=True):
        if pivoted:  # from a fresh reference; else from the middle of a window
            member.pivot(arrays, state.reference, state.sample[: int(state.sampled[0])])
            member.pivot(arrays, state.reference, state.sample[: int(state.sampled[0])])
        count = member.rows_to_pivot(arrays)
        learned = np.exp(random.normal(0.0, 3.0, (count, len(spec.features))))
        learned[random.random_sample(learned.shape) < 0.2] = np.nan
        taken = random.random_sample(count) >= 0.1
        mine = random.random_sample(count) < 0.5

        whole = copied(arrays)
        learn(member, whole, learned, taken)
        base = copied(arrays)
        learn(member, arrays, learned[mine], taken[mine])
        theirs = copied(base)
        fresh_part(theirs)
        learn(member, theirs, learned[~mine], taken[~mine])

        merged = member.merge(arrays, theirs)
        for array in whole:
            assert merged[array].tobytes() == whole[array].tobytes(), array


def fresh_part(arrays: dict[str, np.ndarray]) -> None:
    """The same reference, with nothing learned since."""
    if "latest" in arrays:
        arrays["latest"][:] = 0
    arrays["counter"][[PASSED, FILLED]] = 0


@examples(100, 10)
@given(codes(), st.integers(0, 120))
def test_law_mass_adds_in_feature_profiles(rows: list[int], place: int) -> None:
    spec = SPECS["everything"]
    features = learned_features(spec, rows)
    late = np.zeros(len(features), np.bool_)
    parts = [features[:place], features[place:]]
    whole = histogram(features, late)
    assert (histogram(parts[0], late[:place]) + histogram(parts[1], late[place:]) == whole).all()
    assert whole.sum() == np.count_nonzero(~np.isnan(features))


def learned_features(spec: Spec, rows: list[int]) -> np.ndarray:
    from detector.core.operator import step
    from detector.core.state import new_state

    return step(spec, new_state(spec), stream(spec, rows)).features


def histogram(features: np.ndarray, late: np.ndarray) -> np.ndarray:
    counts = np.zeros((features.shape[1], profile.BINS), np.int64)
    profile.learn_kernel(profile.as_bits(features), late, np.zeros(2, np.int64), counts)
    return counts


def test_law_mass_adds_only_over_one_reference() -> None:
    spec = SPECS["everything"]
    member = compile_plan(spec).members[0]
    one, other = member.new_arrays(), member.new_arrays()
    other["scale"][0] += 1.0
    with pytest.raises(ValueError, match="expected one reference and scale"):
        member.merge(one, other)
