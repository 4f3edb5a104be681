"""Rules, runbooks and dashboard: right by promtool, and naming only what the registry has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from detector.observe.definitions import DEFINITIONS
from tests.unit.deployment import ROOT, SERVICES, command_line, mounts, read_yaml

PROMETHEUS = ROOT / "deploy" / "prometheus"
RUNBOOKS = ROOT / "deploy" / "runbooks"
GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "detector.json").read_text(encoding="utf-8"))

RULES = [rule for group in read_yaml(PROMETHEUS / "rules.yml")["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"]: rule for rule in RULES if "record" in rule}
TARGETS = [
    (f"{panel['title']}: {target['expr']}", target["expr"], target["legendFormat"])
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", [])
]
EXPRESSIONS = {f"rule {rule.get('alert') or rule['record']}": rule["expr"] for rule in RULES}
EXPRESSIONS |= {f"panel {name}": expr for name, expr, _ in TARGETS}
EXPRESSIONS |= {f"variable {item['name']}": item["definition"] for item in DASHBOARD["templating"]["list"]}

PROCESS = {"process_cpu_seconds_total": "counter", "process_resident_memory_bytes": "gauge"}
SCRAPE_LABELS = {"job", "instance"}
LANGUAGE = {
    "sum", "max", "avg", "count", "by", "on", "and", "or", "group_left", "rate", "increase", "deriv", "absent",
    "histogram_quantile", "label_values",
}  # fmt: skip


def _samples() -> dict[str, tuple[str, set[str]]]:
    """Every sample name that a scrape can show → its type and labels."""
    shown = {name: (kind, set[str]()) for name, kind in {**PROCESS, "up": "gauge"}.items()}
    for item in DEFINITIONS:
        labels = set(item.labels)
        if item.kind == "histogram":
            shown[f"{item.full_name}_bucket"] = ("counter", labels | {"le"})
            shown[f"{item.full_name}_sum"] = shown[f"{item.full_name}_count"] = ("counter", labels)
        else:
            shown[item.full_name] = ("gauge" if item.kind == "info" else item.kind, labels)
    return shown


SAMPLES = _samples()


def _tokens(expression: str) -> list[str]:
    """Identifiers of a PromQL expression, strings, durations and Grafana's variables left out."""
    return re.findall(r"(?<![\w$:])[A-Za-z_][\w:]*", re.sub(r'"[^"]*"', '""', expression))


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expression_names_what_exists(name: str) -> None:
    tokens = _tokens(EXPRESSIONS[name])
    metrics = {token for token in tokens if token in SAMPLES or token in RECORDED}
    labels = SCRAPE_LABELS.union(*(SAMPLES[metric][1] for metric in metrics if metric in SAMPLES))
    for metric in metrics & set(RECORDED):
        labels |= set(_tokens(RECORDED[metric]["expr"]))
    unknown = set(tokens) - metrics - labels - LANGUAGE
    assert metrics, "no metric of the registry"
    assert not unknown, f"neither metric, nor label of those metrics, nor PromQL that we use: {sorted(unknown)}"
    assert EXPRESSIONS[name].count("(") == EXPRESSIONS[name].count(")")


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expression_takes_rates_of_counters_only(name: str) -> None:
    expression = EXPRESSIONS[name]
    for metric in re.findall(r"\b(?:rate|increase)\((\w+)", expression):
        assert SAMPLES[metric][0] == "counter"
    for metric in re.findall(r"\bderiv\(([\w:]+)", expression):
        assert metric in RECORDED or SAMPLES[metric][0] == "gauge"
    bare = set(_tokens(expression)) & {sample for sample, (kind, _) in SAMPLES.items() if kind == "counter"}
    assert bare == set(re.findall(r"\b(?:rate|increase)\((\w+)", expression)) & bare, "a counter needs a rate"
    for grouping in re.findall(r"histogram_quantile\([^,]+, sum by \(([^)]*)\)", expression):
        assert "le" in grouping.split(", ")


def test_recorded_names_follow_the_convention() -> None:
    for name, rule in RECORDED.items():
        level, metric, operation = name.split(":")
        assert level.split("_")[0] == "job"
        assert metric.startswith("detector_")
        assert operation
        if " by " in rule["expr"]:
            for label in level.split("_"):
                assert label in rule["expr"]


def test_every_metric_is_looked_at() -> None:
    """In a rule or on the dashboard; a number that nobody sees is a cost."""
    seen = {token for expression in EXPRESSIONS.values() for token in _tokens(expression)}
    for item in DEFINITIONS:
        names = {item.full_name} | {f"{item.full_name}_{part}" for part in ("bucket", "sum", "count")}
        assert names & seen, f"{item.full_name} is on no panel and in no rule"


# -- alerts and runbooks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALERTS)
def test_alert_says_what_a_person_needs(name: str) -> None:
    rule = ALERTS[name]
    assert re.fullmatch(r"Detector([A-Z][a-z]+)+", name)
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert re.fullmatch(r"\d+[smh]", rule["for"])
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert not rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["description"].endswith(".")
    runbook = ROOT / rule["annotations"]["runbook_url"]
    assert runbook.parent == RUNBOOKS
    text = runbook.read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Meaning", "Impact", "Diagnosis", "Remedy"]
    assert "```sh\n" in text.partition("## Diagnosis")[2]


def test_runbooks_are_those_of_the_alerts() -> None:
    files = {path.name for path in RUNBOOKS.glob("*.md")} - {"README.md"}
    assert files == {Path(rule["annotations"]["runbook_url"]).name for rule in ALERTS.values()}
    index = (RUNBOOKS / "README.md").read_text(encoding="utf-8")
    for name, rule in ALERTS.items():
        assert f"| [{name}]({Path(rule['annotations']['runbook_url']).name}) | {rule['labels']['severity']} |" in index


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_runbook_names_what_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    names = {item.full_name for item in DEFINITIONS}
    for metric in re.findall(r"`(detector_[a-z_]+)", text):
        assert metric in names or metric in SAMPLES, metric
    for stem, group in re.findall(r"\^detector_\(([^()]*(?:\([^)]*\)[^()]*)*)\)(\S*)'", text):
        for alternative in re.sub(r"\([^)]*\)", "", stem).split("|"):
            wanted = f"detector_{alternative}".rstrip("_")
            assert any(name.startswith(wanted) for name in names), f"grep for {wanted}{group}"
    for link in re.findall(r"\]\(([a-z-]+\.md)\)", text):
        assert (RUNBOOKS / link).exists()
    for command in re.findall(r"(?:^|`)detector ((?:[a-z]+ ?)+(?:--[a-z-]+ \S+ ?)*)", text, re.MULTILINE):
        arguments = command.replace("`", "").split()
        result = CliRunner().invoke(command_line("detector"), [*arguments, "--help"])
        assert result.exit_code == 0, f"detector {command}: {result.output}"


def test_every_alert_is_tested_both_ways() -> None:
    cases = [
        case for test in read_yaml(PROMETHEUS / "rules.test.yml")["tests"] for case in test.get("alert_rule_test", [])
    ]
    for name in ALERTS:
        mine = [bool(case.get("exp_alerts")) for case in cases if case["alertname"] == name]
        assert True in mine, f"{name} is never shown to fire"
        assert False in mine, f"{name} is never shown to keep quiet"


@pytest.mark.parametrize(
    "arguments",
    [["check", "config", "prometheus.yml"], ["check", "rules", "rules.yml"], ["test", "rules", "rules.test.yml"]],
    ids=" ".join,
)
def test_rules_by_promtool(arguments: list[str]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not here (Debian: apt install prometheus); the checks of names and form have run")
    done = subprocess.run(
        [promtool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# -- scraping and showing -------------------------------------------------------------------------------------------


def test_prometheus_scrapes_the_detector() -> None:
    config = read_yaml(PROMETHEUS / "prometheus.yml")
    (job,) = (item for item in config["scrape_configs"] if item["job_name"] == "detector")
    (discovery,) = job["dns_sd_configs"]
    assert discovery["names"] == ["detector"]
    assert "detector" in SERVICES
    assert SERVICES["detector"]["ports"] == [f"127.0.0.1:{discovery['port']}:{discovery['port']}"]
    targets = {target: source for source, target in mounts(SERVICES["prometheus"])}
    folder = "/etc/prometheus"
    assert f"--config.file={folder}/prometheus.yml" in SERVICES["prometheus"]["command"]
    for name in ("prometheus.yml", *config["rule_files"]):
        assert targets[f"{folder}/{name}"] == f"./deploy/prometheus/{name}"


def test_grafana_finds_source_and_dashboard() -> None:
    (source,) = read_yaml(GRAFANA / "provisioning" / "datasources" / "prometheus.yml")["datasources"]
    (provider,) = read_yaml(GRAFANA / "provisioning" / "dashboards" / "detector.yml")["providers"]
    targets = {target: origin for origin, target in mounts(SERVICES["grafana"])}
    assert source["url"] == f"http://prometheus:{SERVICES['prometheus']['ports'][0].split(':')[-1]}"
    assert targets[provider["options"]["path"]] == "./deploy/grafana/dashboards"
    assert targets["/etc/grafana/provisioning"] == "./deploy/grafana/provisioning"
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/detector.json"
    uids = set(re.findall(r'"uid": "([^"]*)"', json.dumps(DASHBOARD)))
    assert uids == {source["uid"], DASHBOARD["uid"]}


def _covers(panel: dict[str, Any]) -> set[tuple[int, int]]:
    at = panel["gridPos"]
    assert 0 <= at["x"] <= at["x"] + at["w"] <= 24
    return {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}


def test_dashboard_panels_are_whole_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        cells = _covers(panel)
        assert not taken & cells, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"].endswith(".")
            assert panel["targets"]
            assert panel["fieldConfig"]["defaults"]["unit"]


@pytest.mark.parametrize(("expression", "legend"), [(expr, legend) for _, expr, legend in TARGETS])
def test_dashboard_legends_use_labels_that_survive(expression: str, legend: str) -> None:
    wanted = set(re.findall(r"\{\{(\w+)\}\}", legend))
    grouped = {label for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(", ")}
    assert wanted <= (grouped or SCRAPE_LABELS)
