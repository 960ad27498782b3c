"""Envelopes, statements and bundles: they round-trip, and hostile ones are refused rather than misread."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devbox.attest import envelopes, keys, statements
from devbox.attest.statements import Approval, Provenance

DIGEST = f"sha256:{'ab' * 32}"
SIGNER = keys.generate(keys.ED25519)


def test_the_pre_authentication_encoding_is_that_of_the_specification():
    assert envelopes.encode_payload("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@given(payload=st.binary(max_size=64), kind=st.text(max_size=12))
def test_an_envelope_says_who_signed_it(payload: bytes, kind: str):
    envelope = envelopes.sign_payload(payload, SIGNER, payload_type=kind)
    assert envelope.find_signer([SIGNER.public]) == SIGNER.public
    assert envelope._replace(payload=payload + b" ").find_signer([SIGNER.public]) is None
    assert envelope._replace(payload_type=f"{kind} ").find_signer([SIGNER.public]) is None


def test_type_and_payload_do_not_run_into_each_other():
    assert envelopes.encode_payload("a 1 b", b"c") != envelopes.encode_payload("a", b"1 b 1 c")


def test_a_bundle_is_read_as_it_was_written():
    envelope = envelopes.sign_payload(b"{}", SIGNER)
    found = envelopes.read_bundle(envelopes.write_bundle(envelope, key=SIGNER.public))
    assert found == (envelope, SIGNER.public.fingerprint)


def test_a_statement_is_read_as_it_was_written():
    raw = statements.write_statement(DIGEST, statements.APPROVAL, {"a": 1}, name="shop")
    assert statements.read_statement(raw) == ((DIGEST,), statements.APPROVAL, {"a": 1})


@pytest.mark.parametrize(
    "plain",
    [
        {},
        {"_type": "something else", "subject": [], "predicateType": "x"},
        {"_type": "https://in-toto.io/Statement/v1", "subject": "all"},
        {"_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": []}]},
        {"_type": "https://in-toto.io/Statement/v1", "predicate": "none"},
    ],
)
def test_an_invalid_statement_is_refused(plain: dict[str, Any]):
    with pytest.raises(ValueError, match=r"got a string|statement|got a list"):
        statements.read_statement(json.dumps(plain).encode())


@pytest.mark.parametrize(
    "plain",
    [
        {"payload": "e30=", "payloadType": "x", "signatures": []},
        {"payload": "e30=", "payloadType": "x"},
        {"payload": "not base64!", "payloadType": "x", "signatures": [{"sig": "AA=="}]},
        {"payload": "e30=", "payloadType": "x", "signatures": ["AA=="]},
        {"payload": "e30=", "payloadType": "x", "signatures": [{"sig": "é"}]},
    ],
)
def test_an_invalid_envelope_is_refused(plain: dict[str, Any]):
    with pytest.raises(ValueError, match=r"not signed|not base64|got a string"):
        envelopes.read_envelope(plain)


def test_a_payload_of_cosign_names_the_manifest():
    assert envelopes.read_subject(envelopes.build_payload(DIGEST, name="shop")) == DIGEST


@pytest.mark.parametrize(
    "critical",
    [
        {"type": "atomic container signature", "image": {"docker-manifest-digest": DIGEST}},
        {"type": "cosign container image signature", "image": {"docker-manifest-digest": "sha256:1"}},
        {"type": "cosign container image signature", "image": []},
    ],
)
def test_another_payload_is_refused(critical: dict[str, Any]):
    with pytest.raises(ValueError, match=r"payload|digest|got a list"):
        envelopes.read_subject(json.dumps({"critical": critical}).encode())


def test_a_layer_carries_its_signature():
    layer = envelopes.build_layer(b"{}", b"\0signed")
    assert envelopes.read_signature(layer) == b"\0signed"
    assert base64.b64decode(layer["annotations"][envelopes.ANNOTATION]) == b"\0signed"


def test_an_approval_has_texts_only():
    said = Approval(release="r", stage="s", policy="p", approver="ann", issued="1", expires="2")
    assert statements.read_approval(vars(said)) == said
    with pytest.raises(ValueError, match="stage: expected a string, got a list"):
        statements.read_approval({**vars(said), "stage": ["staging", "production"]})
    with pytest.raises(ValueError, match="invalid parts: expected strings"):
        statements.read_approval({**vars(said), "parts": {"replicas.web": 2}})


def test_a_provenance_is_read_as_it_was_written():
    made = Provenance(
        release=DIGEST,
        config=DIGEST,
        source="git:0123-dirty.9",
        builder="ci",
        env_file="devbox.toml",
        files={"devbox.lock.toml": DIGEST},
        images={"debian:13": DIGEST},
        started="2026-11-27T17:00:00Z",
        finished="2026-11-27T17:00:01Z",
    )
    plain = made.to_predicate()
    assert statements.read_provenance(plain) == ("ci", DIGEST, "git:0123-dirty.9")
    materials = {each["name"]: each["digest"] for each in plain["buildDefinition"]["resolvedDependencies"]}
    assert materials == {
        "source-dirty.9": {"gitCommit": "0123"},
        "devbox.lock.toml": {"sha256": "ab" * 32},
        "debian:13": {"sha256": "ab" * 32},
    }


def test_another_tool_s_provenance_is_of_no_release():
    told = statements.read_provenance(
        {"runDetails": {"builder": {"id": "https://ci.example/7"}}, "buildDefinition": {}}
    )
    assert told == ("https://ci.example/7", "", "")


WORDS = [
    *("payload", "payloadType", "signatures", "sig", "keyid", "dsseEnvelope"),
    *("verificationMaterial", "publicKey", "hint", "_type", "subject", "digest"),
    *("sha256", "predicateType", "predicate", "critical", "image", "type"),
    *("docker-manifest-digest", "buildDefinition", "runDetails", "builder", "id"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(DIGEST),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(WORDS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(plain=JSON)
def test_whatever_it_is_it_is_read_or_refused(plain: Any):
    raw = json.dumps(plain).encode()
    for read in (
        envelopes.read_bundle,
        statements.read_statement,
        envelopes.read_subject,
        lambda raw: envelopes.read_envelope(json.loads(raw)),
    ):
        if isinstance(plain, dict):
            with contextlib.suppress(ValueError):
                read(raw)
    if isinstance(plain, dict):
        with contextlib.suppress(ValueError):
            statements.read_provenance(plain)
        with contextlib.suppress(ValueError):
            statements.read_texts(Approval, plain)
