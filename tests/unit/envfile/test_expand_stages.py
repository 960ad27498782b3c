"""`[stage.NAME]`: stage order, the effect of a stage's variables on a release, the policy digest."""

from __future__ import annotations

import dataclasses

import pytest
from support.resolving import resolve_text

from devbox.envfile import host_access
from devbox.errors import EnvFileError
from devbox.model import codec
from devbox.model.release import Release
from devbox.model.spec import Spec
from devbox.model.stage import ApprovalGate, Deployment, SoakGate, compute_policy_digest

APP = """
[vars]
level = "debug"
line = "level=${level}"
[base.app]
recipe = "debian"
[image]
from = "app"
[image.process.web]
command = ["serve", "${line}"]
env = { LEVEL = "${level}", WHO = "app" }
replicas = 3
"""
STAGES = """
[stage.production]
env = { WHO = "production" }
replicas = { web = 2 }
gates = [{ kind = "soak", stage = "staging", duration = "10m" }, { kind = "approval", from = ["ann"] }]
[stage.staging]
vars = { level = "info" }
[approvers]
ann = "keys/ann.pub"
"""


def _deployment(resolved: Spec, stage: str) -> Deployment:
    config = resolved.release
    assert config is not None
    made = Release(id="sha256:0", image="sha256:1", config=config, source="git:0", created_at="")
    return Deployment(release=made, stage=resolved.stages[stage])


def test_of_the_usual_order_those_with_a_table_are_stages(tmp_path):
    stages = resolve_text(str(tmp_path), APP + STAGES).stages
    assert [(stage.name, stage.order) for stage in stages.values()] == [("staging", 0), ("production", 1)]
    assert list(stages) == ["staging", "production"]


def test_of_a_written_order_all_are_stages(tmp_path):
    stages = resolve_text(str(tmp_path), f'stages = ["qa", "staging", "production"]\n{APP}{STAGES}').stages
    assert list(stages) == ["qa", "staging", "production"]
    assert stages["qa"].strategy.kind == "recreate"


def test_gates_are_values_of_their_kinds(tmp_path):
    gates = resolve_text(str(tmp_path), APP + STAGES).stages["production"].gates
    assert gates == (SoakGate(stage="staging", duration=600.0), ApprovalGate(count=1, people=("ann",)))


def test_a_resolved_file_with_stages_survives_being_written_down(tmp_path):
    resolved = resolve_text(str(tmp_path), APP + STAGES)
    assert codec.load(Spec, codec.dump(resolved)) == resolved


def test_variables_of_a_stage_reach_what_is_made_of_them(tmp_path):
    resolved = resolve_text(str(tmp_path), APP + STAGES)
    staging, production = (_deployment(resolved, name).processes["web"] for name in ("staging", "production"))
    assert (staging.command, staging.env) == (("serve", "level=info"), {"LEVEL": "info", "WHO": "app"})
    assert (production.command, production.env) == (("serve", "level=debug"), {"LEVEL": "debug", "WHO": "production"})
    assert (staging.replicas, production.replicas) == (3, 2)


def test_variables_of_a_stage_that_break_the_file_are_reported_with_the_stage(tmp_path):
    text = APP.replace("replicas = 3", 'replicas = "${level}"').replace('"debug"', '"1"')
    with pytest.raises(EnvFileError, match=r"with the vars of \[stage.staging\]"):
        resolve_text(str(tmp_path), text + STAGES)


def test_a_stage_that_shows_nothing_new_changes_no_release(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    without = resolve_text(str(tmp_path / "a"), APP)
    with_same = resolve_text(str(tmp_path / "b"), APP + '[stage.staging]\nvars = { level = "debug" }\n')
    assert with_same.release == without.release


def test_another_config_of_the_stage_is_another_deployment(tmp_path):
    one = _deployment(resolve_text(str(tmp_path), APP + STAGES), "production")
    other = dataclasses.replace(one, stage=dataclasses.replace(one.stage, env={"WHO": "somebody"}))
    assert one.config_digest != other.config_digest


def test_a_policy_is_known_by_its_gates_and_keys_and_by_nothing_else(tmp_path):
    stage = resolve_text(str(tmp_path), APP + STAGES).stages["production"]
    keys = {"ann": "sha256:1"}
    assert compute_policy_digest(stage, keys) == compute_policy_digest(
        dataclasses.replace(stage, env={}, replicas={}), keys
    )
    assert compute_policy_digest(stage, keys) != compute_policy_digest(
        dataclasses.replace(stage, gates=stage.gates[:1]), keys
    )
    assert compute_policy_digest(stage, keys) != compute_policy_digest(stage, {"ann": "sha256:2"})


def test_users_are_shown_every_secret_of_every_process(tmp_path):
    text = """
[base.app]
recipe = "debian"
[image]
from = "app"
[image.process.web]
command = "web"
secrets = { KEY = "cmd:web-key", SHARED = "cmd:one" }
[image.process.worker]
command = "worker"
secrets = { KEY = "cmd:worker-key", OWN = "cmd:of-nobody" }
[stage.production]
secrets = { OWN = "cmd:stage-key" }
"""
    found = host_access.list_stage_access(resolve_text(str(tmp_path), text))
    assert {(access.variable, access.reference) for access in found} == {
        ("KEY", "cmd:web-key"),
        ("SHARED", "cmd:one"),
        ("KEY", "cmd:worker-key"),
        ("OWN", "cmd:stage-key"),
    }
