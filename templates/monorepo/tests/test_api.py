"""The API, against a real PostgreSQL."""

import pytest

from api import notes
from api.app import app


@pytest.fixture
def client():
    notes.migrate()
    return app.test_client()


def test_a_note_is_stored(client):
    answer = client.post("/api/notes", json={"text": " buy milk "})
    assert (answer.status_code, answer.json["text"]) == (201, "buy milk")
    assert client.get("/api/notes").json[0]["text"] == "buy milk"


def test_a_note_needs_a_text(client):
    assert client.post("/api/notes", json={"text": " "}).status_code == 400
