"""Every setting: its type, default, bounds, unit and meaning. `CONFIGURATION.md` is generated from here."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from detector.core.spec import KEY_ROLES, Spec, SpecError, parse_duration_ms, parse_feature
from detector.settings.models import Models
from detector.settings.section import Names, Section, as_tuple
from schemas.mapping import Mapping
from schemas.topics import TOPICS

KeyRole = Literal["card", "customer", "merchant", "terminal", "device", "ip", "country", "mcc", "channel", "currency"]
assert KeyRole.__args__ == KEY_ROLES, "the roles here are those of the spec"  # type: ignore[attr-defined]


TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


# What a promise rests on, so that no property of the user's own may touch it.
RESERVED_PROPERTIES = frozenset(
    {
        "bootstrap.servers",
        "group.id",
        "group.protocol",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "isolation.level",
        "auto.offset.reset",
        "partition.assignment.strategy",
        "transactional.id",
        "enable.idempotence",
        "acks",
        "transaction.timeout.ms",
        "enable.partition.eof",
    }
)


# host, host:port, protocol://host:port, [address]:port; what has further colons is an address without a port.
_SERVER = re.compile(r"(\w+://)?(\[.*\]|[^:\[\]]*)(:(?P<port>[^:]*))?")
PORT_MAX = 65_535


class Kafka(Section):
    """The broker, and how results are committed to it."""

    bootstrap_servers: str = Field(
        default="localhost:9092",
        min_length=1,
        description="Brokers, `host:port`, with commas between them. KAFKA_BOOTSTRAP_SERVERS in the environment "
        "wins over the file.",
    )
    instance_id: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]{0,128}$",
        description="Name of this process within the application, stable over restarts. Empty: the first free "
        "of host-0, host-1 and so on.",
    )
    guarantee: Literal["exactly_once", "at_least_once"] = Field(
        default="exactly_once", description="Whether results and offsets are committed in one Kafka transaction."
    )
    commit_interval_ms: int = Field(
        default=20,
        ge=1,
        le=60_000,
        description="From the start of one commit to that of the next while records flow, ms; bounds alert latency.",
    )
    commit_rows_max: int = Field(default=100_000, ge=1, le=1_000_000, description="Most rows a commit, rows.")
    group_protocol: Literal["classic", "consumer"] = Field(
        default="classic", description="Rebalance protocol; `consumer` is KIP-848 and needs brokers from 4.0."
    )
    session_timeout_ms: int = Field(
        default=10_000, ge=1_000, le=300_000, description="Silence after which the group takes a process for dead, ms."
    )
    client: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description='Any librdkafka property, such as `"security.protocol" = "SASL_SSL"`, given to all clients.',
    )

    @field_validator("bootstrap_servers")
    @classmethod
    def _have_ports(cls, servers: str) -> str:
        faults = []
        for server in map(str.strip, servers.split(",")):
            port = found["port"] if (found := _SERVER.fullmatch(server)) else None
            if port is not None and not (port.isdecimal() and 1 <= int(port) <= PORT_MAX):
                faults.append(f"expected a port from 1 to {PORT_MAX} after the host, found {server!r}")
        if faults:
            raise ValueError("\n".join(faults))
        return servers

    @field_validator("client")
    @classmethod
    def _are_free(cls, client: dict[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
        reserved = sorted(RESERVED_PROPERTIES & client.keys())
        if reserved:
            raise ValueError(
                f"expected no property that the detector sets itself, found {', '.join(reserved)}; remove it"
            )
        return client

    @model_validator(mode="after")
    def _commits_in_time(self) -> Kafka:
        if 2 * self.commit_interval_ms > self.session_timeout_ms:
            raise ValueError(
                f"commit_interval_ms: expected at most half of session_timeout_ms ({self.session_timeout_ms}), "
                f"found {self.commit_interval_ms}"
            )
        return self


class Topics(Section):
    """Names of the topics. Those of journal and snapshots follow from application_id."""

    transactions: TopicName = Field(default=TOPICS["transactions"].name, description="Input topic.")
    alerts: TopicName = Field(default=TOPICS["alerts"].name, description="Topic of the alerts.")
    decisions: TopicName = Field(default=TOPICS["decisions"].name, description="Topic of the published decisions.")
    dead_letters: TopicName = Field(default=TOPICS["dead_letters"].name, description="Topic of the rejected records.")
    labels: TopicName = Field(default=TOPICS["labels"].name, description="Topic of the labels.")

    @model_validator(mode="after")
    def _are_distinct(self) -> Topics:
        names = list(dict(self).values())
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"expected a topic of its own for each role, found {', '.join(twice)} twice")
        return self


class Input(Mapping):
    """The records: which path holds which role, and what becomes of bad ones."""

    rejects_max_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Share of rejects in the window past which the detector stops, exit 65; 1 never stops.",
    )
    rejects_window_rows: int = Field(
        default=1_000, ge=10, le=1_000_000, description="Records over which that share is taken, rows."
    )


WINDOWS_MAX = 128  # of an entity: more entries than these need, its tables cannot count


class EntitySettings(Section):
    """One kind of thing that history is kept for."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="Name, as the features use it.")
    key: KeyRole = Field(description="Role whose value identifies it: " + ", ".join(KEY_ROLES) + ".")
    scope: Literal["partition", "global"] = Field(
        default="partition",
        description="`partition` where the topic is keyed by it or by what determines it; else `global`: each "
        "partition then sees its own share.",
    )
    slots_max: int = Field(
        default=4_000_000, ge=16, le=1_000_000_000,
        description="Most of them kept in one partition; past it the least recently seen make room.",
    )  # fmt: skip


class Features(Section):
    """What is computed for each transaction."""

    use: Names | None = Field(
        default=None,
        description="Names of features, such as `card.count.24h`; see below. Not given: all that the roles allow.",
    )
    allowed_lateness: str = Field(
        default="1h",
        description="How far behind the highest event time a row may lie and not be late, such as 90s, 1h.",
    )

    @field_validator("use")
    @classmethod
    def _can_be_read(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        faults = []
        windows: dict[str, set[int]] = {}
        for name in names or ():
            try:
                feature = parse_feature(name)
            except SpecError as error:
                faults.append(str(error) if repr(name) in str(error) else f"{name!r}: {error}")
            else:
                windows.setdefault(feature.entity, set()).add(feature.window_ms)
        for entity, found in windows.items():
            if len(found) > WINDOWS_MAX:
                faults.append(f"expected at most {WINDOWS_MAX} windows an entity, found {len(found)} of {entity}")
        if names is not None:
            twice = sorted({name for name in names if names.count(name) > 1})
            faults += [f"expected each feature once, found {name!r} twice" for name in twice]
            faults += [] if names else ["expected at least one feature, found none; leave `use` out for the default"]
        if faults:
            raise ValueError("\n".join(faults))
        return names

    @field_validator("allowed_lateness")
    @classmethod
    def _is_duration(cls, text: str) -> str:
        parse_duration_ms(text)
        return text


class DecisionSettings(Section):
    """When a transaction becomes an alert."""

    alerts_per_day: int = Field(
        default=100, ge=0, le=10_000_000,
        description="Alert budget over all partitions, alerts an event-time day (UTC); 0: no budget, the threshold "
        "alone decides.",
    )  # fmt: skip
    alert_risk_min: float = Field(default=900.0, ge=0, le=1000, description="No alert below this risk, 0 to 1000.")
    review_risk_min: float = Field(
        default=990.0, ge=0, le=1000, description="Rows without an alert are for review from this risk on, 0 to 1000."
    )
    money_weight: float = Field(
        default=0.0, ge=0, le=4,
        description="How much the amount at risk counts when the alert budget is spent: 0 not at all; 1 as much as "
        "rarity, so that twice the amount makes up for being half as rare. The risk score stays the same.",
    )  # fmt: skip


class Output(Section):
    """What is published besides the alerts."""

    decisions: Literal["none", "review", "all"] = Field(
        default="none", description="Decisions to publish: none, those for review and alerts, or every one."
    )


class Snapshots(Section):
    """How often a task's state is saved; whichever comes first."""

    interval_s: int = Field(default=60, ge=1, le=86_400, description="Time between snapshots of a task, s.")
    interval_rows: int = Field(
        default=5_000_000, ge=1_000, le=1_000_000_000, description="Rows between snapshots of a task, rows."
    )


class LabelSettings(Section):
    """What transactions turned out to be, learned from the topic `topics.labels` as it comes in."""

    enabled: bool = Field(
        default=False,
        description="Whether labels are read. Their topic must then have as many partitions as the input topic, and "
        "the same keys.",
    )
    interval_ms: int = Field(
        default=1_000,
        ge=10,
        le=600_000,
        description="Least time between two looks at the labels topic, ms; each look that finds any is noted in the "
        "journal.",
    )
    pending_rows_max: int = Field(
        default=262_144,
        ge=1_024,
        le=100_000_000,
        description="Newest decided rows of a partition that a label still finds, some 200 bytes each; a label that "
        "comes later is an orphan.",
    )
    frauds_until_half: float = Field(
        default=10.0,
        gt=0,
        le=1e9,
        description="Labelled frauds at which the supervised head weighs as much as the other models; none: nothing.",
    )
    genuine_share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of the genuine rows that the heads learn, less where they are too many for a fit; frauds "
        "they learn all.",
    )
    fraud_weight: float = Field(
        default=1.0, gt=0, le=1e6, description="How many of those genuine rows a fraud weighs as much as."
    )
    boosted: bool = Field(
        default=False,
        description="Whether boosted trees are fitted to the labelled rows in the background, beside the online head; "
        "needs the extra `boost`.",
    )
    boosted_delay_rows: int = Field(
        default=8_192,
        ge=1,
        le=100_000_000,
        description="Rows from the start of a fit to the row where its trees take over; should they not be ready, "
        "deciding waits for them.",
    )
    ridge: float = Field(
        default=10.0,
        gt=0,
        le=1e6,
        description="How strongly the head's weights are drawn to nothing: rows that a weight needs to be believed.",
    )


class Http(Section):
    """Where /metrics, /ping and /ready are served."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 for all.")
    port: int = Field(default=9464, ge=0, le=PORT_MAX, description="TCP port; 0 takes any free one.")


class Log(Section):
    """Structured logs on standard error."""

    format: Literal["console", "json"] = Field(default="console", description="For people, or one JSON object a line.")
    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level shown.")


class Settings(Section):
    """All settings of the detector."""

    application_id: str = Field(
        default="fraud-detector",
        pattern=r"^[A-Za-z0-9._-]{1,200}$",
        description="Consumer group, prefix of the transactional id and of the internal topics.",
    )
    kafka: Kafka = Field(default_factory=Kafka, description=Kafka.__doc__)
    topics: Topics = Field(default_factory=Topics, description=Topics.__doc__)
    input: Input = Field(default_factory=Input, description=Input.__doc__)
    entities: Annotated[tuple[EntitySettings, ...], BeforeValidator(as_tuple)] | None = Field(
        default=None,
        description="Not given: card and customer by partition, merchant, terminal and device globally, each where its "
        "role is mapped. An empty list: none, only the row's own numbers are scored.",
    )
    features: Features = Field(default_factory=Features, description=Features.__doc__)
    models: Models = Field(default_factory=Models, description=Models.__doc__)
    decision: DecisionSettings = Field(default_factory=DecisionSettings, description=DecisionSettings.__doc__)
    output: Output = Field(default_factory=Output, description=Output.__doc__)
    snapshots: Snapshots = Field(default_factory=Snapshots, description=Snapshots.__doc__)
    labels: LabelSettings = Field(default_factory=LabelSettings, description=LabelSettings.__doc__)
    http: Http = Field(default_factory=Http, description=Http.__doc__)
    log: Log = Field(default_factory=Log, description=Log.__doc__)

    @model_validator(mode="after")
    def _leaves_own_topics_alone(self) -> Settings:
        own = {TOPICS[role].name.format(application_id=self.application_id) for role in ("journal", "snapshots")}
        clash = sorted(own & set(dict(self.topics).values()))
        if clash:
            raise ValueError(f"topics: expected names other than the application's own, found {', '.join(clash)}")
        return self

    @property
    def mapping(self) -> Mapping:
        """How the input's JSON becomes transactions."""
        return self.input

    def spec(self, partitions: int = 1) -> Spec:
        """The frozen spec for an input of that many partitions. Raises ConfigError where the declarations clash."""
        from detector.settings.building import build_spec

        return build_spec(self, partitions)
