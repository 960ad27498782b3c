"""The web application: GET / shows the orders, POST /orders puts an order into the queue."""

import click
from flask import Flask, jsonify, render_template, request

from shop import VERSION, database, prices
from shop.queue import Queue

app = Flask(__name__)
queue = Queue()


def place(product, quantity):
    """Put an order into the queue and return its total; KeyError for an unknown product."""
    total = prices.total(product, quantity)
    queue.put({"product": product, "quantity": quantity, "total": total, "release": VERSION})
    return total


@app.get("/")
def page():
    orders = database.newest()
    return render_template("index.html", version=VERSION, products=prices.PRICES, orders=orders, waiting=queue.size())


@app.get("/orders")
def orders():
    return jsonify(version=VERSION, waiting=queue.size(), processed=database.count())


@app.post("/orders")
def order():
    product = request.form.get("product", "")
    quantity = request.form.get("quantity", default=1, type=int)
    if product not in prices.PRICES or quantity < 1:
        return jsonify(version=VERSION, error="unknown product or invalid quantity"), 400
    return jsonify(version=VERSION, total=place(product, quantity)), 202


@app.get("/healthz")
def healthz():
    """Return 200 if both services respond."""
    queue.size()
    database.count()
    return "ok\n"


@app.cli.command("order")
@click.argument("product", type=click.Choice(list(prices.PRICES)))
@click.argument("quantity", type=click.IntRange(min=1), default=1)
def order_from_shell(product, quantity):
    """Put an order into the queue."""
    click.echo(f"ordered {quantity} x {product} for {place(product, quantity) / 100:.2f}")
