"""Settings: every fault with its place, nothing unknown, secrets hidden, all of it documented."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import xgboost

from detector.core.spec import Spec
from detector.settings import ConfigError, Settings, load
from detector.settings.paths import missing
from detector.settings.section import all_settings
from detector.settings.text import MASK, reference, show
from schemas.topics import TOPICS

REFERENCE = Path(__file__).parents[2] / "detector" / "CONFIGURATION.md"


def from_text(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> Settings:
    path = tmp_path / "detector.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, env or {})


def faults_of(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as error:
        from_text(tmp_path, text, env)
    return error.value.faults


def test_defaults_run() -> None:
    settings = load(None, {})
    assert settings.kafka.guarantee == "exactly_once"
    assert {role: getattr(settings.topics, role) for role in TOPICS if hasattr(settings.topics, role)} == {
        role: topic.name for role, topic in TOPICS.items() if role not in ("journal", "snapshots")
    }
    spec = settings.spec(4)
    assert spec.partitions == 4
    assert spec.keys == ("card", "customer", "merchant", "terminal", "device", "country")
    assert {entity.name: entity.scope for entity in spec.entities} == {
        "card": "partition", "customer": "partition", "merchant": "global", "terminal": "global", "device": "global",
    }  # fmt: skip
    assert (spec.decision.alerts_per_day, spec.seed, spec.allowed_lateness_ms) == (100, 42, 3_600_000)
    assert settings.mapping is settings.input


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert from_text(tmp_path, "") == load(None, {})


def test_all_faults_are_listed_with_their_place(tmp_path: Path) -> None:
    text = """
    aplication_id = "x"
    [kafka]
    commit_interval_ms = "20"
    guarantee = "twice"
    client = { "group.id" = "mine" }
    [input]
    time_format = "epoch"
    [input.fields]
    card = "c"
    [[entities]]
    name = "Card"
    key = "crd"
    [features]
    use = ["card.cnt.1h", "card.sum.1y", "amount", "amount"]
    allowed_lateness = "soon"
    [http]
    port = 99999
    [snapshots]
    interval_s = 0
    """
    faults = faults_of(tmp_path, text, {"DETECTOR_LOG__LEVEL": "loud", "DETECTOR_NOSUCH": "1"})
    expected = {
        "aplication_id: expected one of": "did you mean application_id?",
        "kafka.commit_interval_ms: expected a valid integer": "found '20'",
        "kafka.guarantee: expected 'exactly_once', or 'at_least_once'": "found 'twice'",
        "kafka.client: expected no property that the detector sets itself": "group.id",
        "input.time_format: expected epoch_ms": "found 'epoch'",
        "input.fields.card: expected 'transaction_id'": "found 'card'",
        "entities.0.name: expected": "found 'Card'",
        "entities.0.key: expected 'card'": "found 'crd'",
        "features.use: unknown feature 'card.cnt.1h'": "expected amount",
        "features.use: 'card.sum.1y': expected a duration": "found '1y'",
        "features.use: expected each feature once": "'amount' twice",
        "features.allowed_lateness: expected a duration": "found 'soon'",
        "http.port: expected": "found 99999",
        "snapshots.interval_s: expected": "found 0",
        "log.level (from DETECTOR_LOG__LEVEL): expected": "found 'loud'",
        "nosuch (from DETECTOR_NOSUCH): expected one of": "unknown key",
    }
    for start, rest in expected.items():
        found = [fault for fault in faults if fault.startswith(start)]
        assert len(found) == 1, f"{start}: {faults}"
        assert rest in found[0]
    assert len(faults) == len(expected)


@pytest.mark.parametrize(
    ("fields", "faults"),
    [
        (
            "event_time = 't'\ncard_id = 'c.'\namount = 'a..b'",
            ["input.fields.card_id: expected a path", "input.fields.amount: expected a path"],
        ),
        ("event_time = 't'\ncardid = 'c'\namount = 'a'", ["input.fields.cardid: expected 'transaction_id'"]),
    ],
)
def test_a_role_at_fault_is_told_and_not_what_rests_on_it(tmp_path: Path, fields: str, faults: list[str]) -> None:
    text = f"[input]\nnumeric = ['n']\n[input.fields]\n{fields}\n[features]\nuse = ['card.sum.1h', 'numeric.n']"
    found = faults_of(tmp_path, text)
    assert len(found) == len(faults)
    assert all(fault.startswith(start) for fault, start in zip(found, faults, strict=True))


def test_clashes_between_sections_are_listed_beside_faults_of_others(tmp_path: Path) -> None:
    text = """
    [input]
    numeric = ["a"]
    [input.fields]
    event_time = "t"
    merchant_id = "m"
    [[entities]]
    name = "merchant"
    key = "merchant"
    scope = "global"
    [[entities]]
    name = "merchant"
    key = "card"
    [features]
    use = ["card.count.1h", "amount", "merchant.sum.1h", "merchant.new.device", "merchant.speed_kmh", "numeric.b",
           "merchant.count.999d"]
    [models.half_space_trees]
    features = ["weekday"]
    [http]
    port = true
    """
    faults = faults_of(tmp_path, text)
    for part in (
        "http.port: expected a valid integer, found True",
        "entities.1.key: expected a role that [input.fields] maps (merchant), found 'card'; add card_id",
        "entities.1.name: expected each name once, found 'merchant' twice",
        "features.use: 'card.count.1h': expected an entity (merchant), found 'card'",
        "features.use: 'amount': expected [input.fields] to map amount",
        "features.use: 'merchant.sum.1h': expected [input.fields] to map amount",
        "features.use: 'merchant.new.device': expected a role that [input.fields] maps (merchant), found 'device'",
        "features.use: 'merchant.speed_kmh': expected [input.fields] to map lat and lon",
        "features.use: 'numeric.b': expected a column of [input] numeric (a), found 'b'",
        "features.use: 'merchant.count.999d': expected a window of at most 365d",
        "models.half_space_trees.features: expected names among the features in use, found 'weekday'",
    ):
        assert any(part in fault for fault in faults), f"{part}: {faults}"
    assert len(faults) == 11


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[kafka", "expected TOML"),
        ("[topics]\nalerts = 'x'\nlabels = 'x'", "topics: expected a topic of its own for each role, found x twice"),
        ("[topics]\nalerts = 'a b'", "topics.alerts: expected"),
        ("[kafka]\ncommit_interval_ms = 9000", "kafka.commit_interval_ms: expected at most half"),
        ("[features]\nuse = []", "features.use: expected at least one feature"),
        (
            f"[features]\nuse = {[f'card.count.{hours}h' for hours in range(1, 130)]}",
            "features.use: expected at most 128 windows an entity, found 129 of card",
        ),
        ("[decision]\nalert_risk_min = inf", "decision.alert_risk_min: expected"),
        ("kafka = 5", "kafka: expected"),
        (
            "[input.fields]\nevent_time = 't'\namuont = 'x'",
            "'amount', 'lat', or 'lon', found 'amuont'; did you mean amount?",
        ),
        ("[kafka]\nguarantee = 'exactly-once'", "found 'exactly-once'; did you mean exactly_once?"),
    ],
)
def test_single_faults(tmp_path: Path, text: str, fault: str) -> None:
    [found] = faults_of(tmp_path, text)
    assert fault in found


@pytest.mark.parametrize("port", ["70000", "0", "-1", "9o92", ""])
def test_a_port_of_a_broker_that_there_cannot_be_is_a_fault(tmp_path: Path, port: str) -> None:
    servers = f"SSL://a:9093, [::1]:65535,::1,b,c:{port},[::2]:{port},d:9092"
    [first, second] = faults_of(tmp_path, "", {"KAFKA_BOOTSTRAP_SERVERS": servers})
    place = "kafka.bootstrap_servers (from KAFKA_BOOTSTRAP_SERVERS): expected a port from 1 to 65535"
    assert first == f"{place} after the host, found 'c:{port}'"
    assert second.endswith(f"found '[::2]:{port}'")


@pytest.mark.parametrize(
    ("variable", "place", "meant"),
    [
        ("DETECTOR_KAFAK__X", "kafak", "kafka"),
        ("DETECTOR_KAFAK__INSTANCE_ID", "kafak", "DETECTOR_KAFKA__INSTANCE_ID"),
        ("DETECTOR_KAFKA_BOOTSTRAP_SERVERS", "kafka_bootstrap_servers", "DETECTOR_KAFKA__BOOTSTRAP_SERVERS"),
        ("DETECTOR_MODELS__TREES__HEIGHT", "models.trees", ""),
        ("DETECTOR_HTTP__PROT", "http.prot", "DETECTOR_HTTP__PORT"),
        ("DETECTOR_HTTP__PORT__X", "http.x", "DETECTOR_HTTP__PORT"),
        ("DETECTOR_CONFIGS", "configs", "DETECTOR_CONFIG"),
        ("DETECTOR_CACHE_DIRS", "cache_dirs", "DETECTOR_CACHE_DIR"),
    ],
)
def test_a_variable_that_no_setting_takes_is_named_with_the_one_that_was_meant(
    tmp_path: Path, variable: str, place: str, meant: str
) -> None:
    [found] = faults_of(tmp_path, "", {variable: "1", "DETECTOR_HTTP__PORT": "1"})
    assert found.startswith(f"{place} (from {variable}): expected one of ")
    assert found.endswith(f"; did you mean {meant}?" if meant else "an unknown key")


def test_all_variables_of_a_section_that_there_is_not_are_named_and_no_others(tmp_path: Path) -> None:
    env = {"DETECTOR_KAFAK__X": "1", "DETECTOR_KAFAK__Y": "1", "DETECTOR_KAFKA__SESSION_TIMEOUT_MS": "1000"}
    [interval, unknown] = faults_of(tmp_path, "kafka.commit_interval_ms = 600", env)
    assert interval.startswith("kafka.commit_interval_ms: expected at most half of session_timeout_ms (1000)")
    assert unknown.startswith("kafak (from DETECTOR_KAFAK__X, DETECTOR_KAFAK__Y): expected one of")


@pytest.mark.parametrize(
    ("text", "places"),
    [
        (
            "time_origin = '2013-09-01T00:00:00Z'\nrequired = ['amount', 'ip']\nfields = { lat = 'a' }",
            ["time_origin", "required", "required", "fields.lat"],
        ),
        ("time_origin = 'soon'\ntime_format = 'seconds_since'\nfields = { lat = 'a' }", ["time_origin", "fields.lat"]),
        ("time_format = 'seconds_since'\nfields = { lat = 'a' }", ["time_origin", "fields.lat"]),
        (
            "[input.bounds]\namount_min = 5.0\namount_max = 4.0\nevent_time_min = '2100-01-01T00:00:00Z'",
            ["bounds.amount_min", "bounds.event_time_min"],
        ),
    ],
)
def test_faults_between_keys_of_a_section_are_told_at_once(tmp_path: Path, text: str, places: list[str]) -> None:
    faults = faults_of(tmp_path, f"[input]\n{text}")
    assert len(faults) == len(places)
    assert all(fault.startswith(f"input.{place}: ") for fault, place in zip(faults, places, strict=True)), faults


def test_a_fault_between_keys_names_the_variable_that_set_one(tmp_path: Path) -> None:
    [fault] = faults_of(tmp_path, "", {"DETECTOR_KAFKA__COMMIT_INTERVAL_MS": "9000"})
    assert fault.startswith("kafka.commit_interval_ms (from DETECTOR_KAFKA__COMMIT_INTERVAL_MS): expected at most half")


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "detector.toml"
    path.write_bytes(b'\xef\xbb\xbfapplication_id = "marked"\n')
    assert load(path, {}).application_id == "marked"


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a file"):
        load(tmp_path / "none.toml", {})
    with pytest.raises(ConfigError, match="can be read"):
        load(tmp_path, {})


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    text = """
    kafka = { bootstrap_servers = "file:1", commit_interval_ms = 30 }
    http.port = 1
    features.use = ["amount"]
    """
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": "broker:1",
        "DETECTOR_HTTP__PORT": "0",
        "DETECTOR_APPLICATION_ID": "123",
        "DETECTOR_FEATURES__USE": '["amount", "hour"]',
        "DETECTOR_DECISION__ALERT_RISK_MIN": "950",
        "DETECTOR_INPUT__REJECTS_MAX_SHARE": "0.25",
        "DETECTOR_KAFKA__CLIENT__SASL_PASSWORD": "12345",
        "DETECTOR_MODELS__HALF_SPACE_TREES__TREES": "10",
        "DETECTOR_CONFIG": "names the file, is no setting",
        "DETECTOR_CACHE_DIR": "names the folder of compiled kernels, is no setting",
        "UNRELATED": "x",
    }
    settings = from_text(tmp_path, text, env)
    assert settings.kafka.bootstrap_servers == "broker:1"
    assert settings.kafka.commit_interval_ms == 30
    assert settings.http.port == 0
    assert settings.application_id == "123"
    assert settings.features.use == ("amount", "hour")
    assert settings.decision.alert_risk_min == 950
    assert settings.input.rejects_max_share == 0.25
    assert settings.kafka.client == {"sasl.password": "12345"}
    assert settings.models.half_space_trees.trees == 10
    both = env | {"DETECTOR_KAFKA__BOOTSTRAP_SERVERS": "longer:1"}
    assert from_text(tmp_path, text, both).kafka.bootstrap_servers == "longer:1"


SECRETS = {
    "sasl.password": "hunter2",
    "ssl.key.password": "hunter2",
    "ssl.key.pem": "hunter2",
    "ssl.keystore.password": "hunter2",
    "sasl.oauthbearer.client.secret": "hunter2",
    "sasl.oauthbearer.config": "hunter2",
}


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    lines = "".join(f'"{name}" = "{value}"\n' for name, value in SECRETS.items())
    settings = from_text(tmp_path, f'[kafka.client]\n{lines}"sasl.username" = "me"\n')
    text = show(settings)
    assert "hunter2" not in text
    assert text.count(MASK) == len(SECRETS)
    assert '"sasl.username" = "me"' in text
    [fault] = faults_of(tmp_path, '[kafka.client]\n"sasl.password" = ["hunter2"]\n')
    assert fault.startswith("kafka.client.sasl.password: expected")
    assert "hunter2" not in fault


def test_what_is_shown_can_be_read_back(tmp_path: Path) -> None:
    text = r"""
    [input]
    numeric = ["a b", 'c\.d']
    [input.fields]
    event_time = "t"
    card_id = "c"
    [[entities]]
    name = "payer"
    key = "card"
    """
    for source in ("", text, "entities = []"):
        settings = from_text(tmp_path, source)
        assert from_text(tmp_path, show(settings)) == settings


def test_the_reference_is_complete_and_does_not_drift() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    assert text == reference(), "run: detector config reference > detector/CONFIGURATION.md"
    places = all_settings(Settings)
    assert len(places) > 45
    for place in places:
        section, _, key = place.rpartition(".")
        brackets = (
            f"`[[{section}]]`" if section in ("entities", "models.plugins", "models.trained") else f"`[{section}]`"
        )
        part = text.split(f"## {brackets if section else 'Top level'}\n", 1)[1].split("\n## ", 1)[0]
        [row] = [line for line in part.splitlines() if line.startswith(f"| `{key}` |")]
        assert len(row.split(" | ")[3]) > 10, f"{place} has no description"


def test_a_setting_that_changes_decisions_changes_the_fingerprint(tmp_path: Path) -> None:
    base = load(None, {}).spec()
    for text in (
        "[features]\nuse = ['amount']", "[features]\nallowed_lateness = '2h'", "[models]\nseed = 1", "entities = []",
        "[models.half_space_trees]\ntrees = 3", "[decision]\nalerts_per_day = 0", "[input]\nnumeric = ['v']",
    ):  # fmt: skip
        assert from_text(tmp_path, text).spec().fingerprint() != base.fingerprint(), text
    for text in ("[http]\nport = 0", "[kafka]\ncommit_interval_ms = 50", "[topics]\nalerts = 'other'"):
        assert from_text(tmp_path, text).spec() == base, text


def test_another_version_of_the_trainer_is_another_spec_of_the_same_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "[labels]\nenabled = true\nboosted = true"
    now = from_text(tmp_path, text).spec()
    assert now.trainer_version == xgboost.__version__
    monkeypatch.setattr("detector.settings.building.package_version", lambda _module: "99")
    later = from_text(tmp_path, text).spec()
    assert later.fingerprint() != now.fingerprint()
    assert later.state_fingerprint() == now.state_fingerprint()
    assert from_text(tmp_path, "[labels]\nenabled = true").spec().trainer_version == ""


def test_a_topic_with_nothing_but_a_time_scores_the_row_alone(tmp_path: Path) -> None:
    spec = from_text(tmp_path, "[input.fields]\nevent_time = 't'\n[input.numeric]\nv = 'a.v'").spec()
    assert (spec.keys, spec.entities, spec.numeric) == ((), (), ("v",))
    assert [feature.name for feature in spec.features] == ["hour", "weekday", "numeric.v"]
    assert from_text(tmp_path, "[decision]\nalerts_per_day = 0").spec().decision.alerts_per_day is None


def test_default_features_need_what_is_mapped(tmp_path: Path) -> None:
    spec = from_text(tmp_path, "[input.fields]\nevent_time = 't'\ncard_id = 'c'").spec()
    names = [feature.name for feature in spec.features]
    assert "card.count.1h" in names
    assert not [name for name in names if "amount" in name or ".sum." in name or "distance" in name or "speed" in name]


def test_the_number_of_partitions_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one partition"):
        load(None, {}).spec(0)


def test_files_that_the_settings_name_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    settings = from_text(
        tmp_path, f'[kafka.client]\n"ssl.ca.location" = "{tmp_path}/ca.pem"\n"ssl.key.location" = "/none"'
    )
    [fault] = missing(settings)
    assert fault.startswith("kafka.client.ssl.key.location: expected a file")


def test_every_field_of_the_spec_comes_from_a_setting() -> None:
    """Or is the input's own: a new field of the spec without a setting would silently keep its default."""
    known = {
        "keys",
        "numeric",
        "entities",
        "features",
        "members",
        "decision",
        "allowed_lateness_ms",
        "partitions",
        "seed",
        "mapping",
        "labels",
        "heads",
        "trainer_version",
    }
    assert {field.name for field in dataclasses.fields(Spec)} == known


def test_settings_are_frozen() -> None:
    settings: Any = load(None, {})
    with pytest.raises(ValueError, match="frozen"):
        settings.application_id = "x"


def test_what_no_feature_reads_is_neither_hashed_nor_kept(tmp_path: Path) -> None:
    settings = from_text(tmp_path, '[features]\nuse = ["amount", "card.count.24h", "card.new.country"]\n')
    spec = settings.spec()
    assert spec.keys == ("card", "country")
    assert [entity.name for entity in spec.entities] == ["card"]


def test_another_mapping_is_another_spec_and_other_limits_are_not(tmp_path: Path) -> None:
    default = load(None, {}).spec()
    mapped = from_text(tmp_path, '[input]\ntime_format = "epoch_s"\n').spec()
    limited = from_text(tmp_path, "[input]\nrejects_max_share = 0.9\n").spec()
    assert mapped.state_fingerprint() != default.state_fingerprint()
    assert limited == default


def test_clashes_are_told_beside_faults_in_the_same_sections(tmp_path: Path) -> None:
    text = (
        '[input]\ntime_format = "rfc3399"\n[input.fields]\nevent_time = "t"\n[features]\nuse = ["merchant.count.1h"]\n'
    )
    faults = faults_of(tmp_path, text)
    assert any(fault.startswith("input.time_format") for fault in faults), faults
    assert any(fault.startswith("features.use") for fault in faults), faults


def test_the_application_s_own_topics_are_no_outputs(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, 'application_id = "a"\n[topics]\nalerts = "a.journal"\n')
    assert "a.journal" in fault
