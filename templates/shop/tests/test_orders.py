"""An order goes from the web application through Redis and the worker into PostgreSQL."""

import pytest

from shop import database, worker
from shop.queue import Queue
from shop.web import app


@pytest.fixture
def client():
    database.migrate()
    return app.test_client()


def test_an_order_is_processed_by_the_worker(client):
    before = database.count()
    answer = client.post("/orders", data={"product": "tea", "quantity": "2"})
    assert (answer.status_code, answer.json["total"]) == (202, 500)
    worker.process(Queue().take())
    assert database.count() == before + 1
    assert database.newest(1)[0]["total"] == 500


def test_unknown_products_are_rejected(client):
    assert client.post("/orders", data={"product": "milk"}).status_code == 400


def test_the_page_shows_the_products(client):
    assert "coffee 3.20" in client.get("/").text
