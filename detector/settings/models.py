"""Settings of the models: `[models]` and its tables."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from detector.settings.section import Names, Section, as_tuple


class MemberSettings(Section):
    """What all models have."""

    enabled: bool = Field(default=True, description="Whether it takes part.")
    weight: float = Field(default=1.0, gt=0, le=100, description="How much its say counts beside the others'.")
    features: Names = Field(default=(), description="Features that it sees. Empty: those that suit it.")


class HalfSpaceTreesSettings(MemberSettings):
    """Streaming half-space trees (Tan, Ting, Liu, 2011)."""

    weight: float = Field(default=0.25, gt=0, le=100, description="How much its say counts beside the others'.")
    trees: int = Field(default=25, ge=1, le=1_000, description="Number of trees.")
    height: int = Field(default=8, ge=1, le=15, description="Height of each tree, levels; 2^height leaves.")
    window_rows: int = Field(default=1_000, ge=64, le=10_000_000, description="Rows between pivots.")


class IsolationForestSettings(MemberSettings):
    """A rolling isolation forest (Liu, Ting, Zhou, 2008): trees are built of recent rows, and replaced in turn."""

    trees: int = Field(default=50, ge=1, le=1_000, description="Number of trees.")
    sample_rows: int = Field(default=256, ge=2, le=2_048, description="Rows that a tree is built of.")
    rebuild_rows: int = Field(
        default=256, ge=1, le=1_000_000, description="Learned rows from one new tree to the next."
    )
    pivot_rows: int = Field(default=1_000, ge=64, le=10_000_000, description="Rows between pivots; new trees wait.")


class ProjectionsRangeSettings(MemberSettings):
    """Histograms of sparse random projections (after LODA, Pevny, 2016) of columns divided by their range."""

    projections: int = Field(default=100, ge=1, le=1_000, description="Number of projections.")
    width: float = Field(default=2.0, gt=0, le=100, description="Width of a bin, in deviations of its projection.")
    pivot_rows: int = Field(default=1_000, ge=64, le=10_000_000, description="Rows between pivots.")


class ProjectionsAsinhSettings(MemberSettings):
    """The same of the asinh of (value - median) / interquartile range, whitened, with finer bins."""

    projections: int = Field(default=100, ge=1, le=1_000, description="Number of projections.")
    width: float = Field(default=0.5, gt=0, le=100, description="Width of a bin, in deviations of its projection.")
    pivot_rows: int = Field(default=1_000, ge=64, le=10_000_000, description="Rows between pivots.")


class MahalanobisSettings(MemberSettings):
    """The distance from the rows' middle in units of how they spread and go together (Mahalanobis, 1936)."""

    weight: float = Field(default=1.5, gt=0, le=100, description="How much its say counts beside the others'.")
    pivot_rows: int = Field(default=1_000, ge=64, le=10_000_000, description="Rows between pivots.")


class PluginSettings(Section):
    """An anomaly detector of river, or an outlier estimator of scikit-learn, beside our own models.

    Hundreds of times slower than they are: with one, a process decides some tens (river's LocalOutlierFactor) to some
    thousands (its HalfSpaceTrees) of transactions a second. It is fitted anew at each pivot on the last rows learned,
    which are all that is saved of it. Its library's code runs with the detector's rights: name only what you trust.
    """

    estimator: str = Field(
        description="Dotted name of its class, such as river.anomaly.LocalOutlierFactor or "
        "sklearn.ensemble.IsolationForest (the sklearn extra).",
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="Its arguments, such as { n_neighbors = 20 }. A seed is given by models.seed unless you set one.",
    )
    rows: int = Field(default=1_000, ge=16, le=100_000, description="Rows learned last that it is fitted on, rows.")
    refit_rows: int = Field(default=1_000, ge=64, le=10_000_000, description="Rows between two fits.")
    features: Names = Field(default=(), description="Features that it sees. Empty: those that suit models.")
    weight: float = Field(default=1.0, gt=0, le=1_000, description="Weight of its score among those of the members.")


class TrainedSettings(Section):
    """A model that `detector lab train` made: one without labels is a member beside our own, a supervised one a head.

    A head's evidence is blended with the anomaly by the frauds that it was trained on (times its weight) against
    labels.frauds_until_half; it needs no labels live. Its probability is published beside the members' scores. A model
    that does not fit the features, was changed, or holds unknown types is refused at start. Needs the extra `trained`.
    """

    path: str = Field(
        min_length=1,
        description="Its folder, or where MLflow has it: `runs:/RUN/model`, `models:/NAME/VERSION`; asked at start.",
    )
    weight: float = Field(
        default=1.0,
        gt=0,
        le=1_000,
        description="Of a member: how much its say counts beside the others'. Of a head: how much each fraud that it "
        "was trained on counts.",
    )
    tracking_uri: str = Field(
        default="", description="MLflow's store or server. Empty: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db."
    )


class Models(Section):
    """The models whose scores make the risk."""

    seed: int = Field(default=42, ge=0, lt=2**32, description="Seed of all random choices.")
    half_space_trees: HalfSpaceTreesSettings = Field(
        default_factory=HalfSpaceTreesSettings, description=HalfSpaceTreesSettings.__doc__
    )
    isolation_forest: IsolationForestSettings = Field(
        default_factory=IsolationForestSettings, description=IsolationForestSettings.__doc__
    )
    projections_range: ProjectionsRangeSettings = Field(
        default_factory=ProjectionsRangeSettings, description=ProjectionsRangeSettings.__doc__
    )
    projections_asinh: ProjectionsAsinhSettings = Field(
        default_factory=ProjectionsAsinhSettings, description=ProjectionsAsinhSettings.__doc__
    )
    mahalanobis: MahalanobisSettings = Field(
        default_factory=MahalanobisSettings, description=MahalanobisSettings.__doc__
    )
    plugins: Annotated[tuple[PluginSettings, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="None by default."
    )
    trained: Annotated[tuple[TrainedSettings, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="None by default."
    )

    @model_validator(mode="after")
    def _has_one(self) -> Models:
        ours = [member for member in dict(self).values() if isinstance(member, MemberSettings)]
        if not (self.plugins or self.trained) and not any(member.enabled for member in ours):
            raise ValueError("expected at least one model enabled, found none")
        return self
