"""The worker: takes orders from the queue and writes them to the database, until it is stopped."""

import signal

from shop import database
from shop.queue import Queue


def process(order):
    """Process one order."""
    database.add(order)
    print(f"{order['quantity']} x {order['product']}: {order['total'] / 100:.2f}")


def main():
    stopped = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    queue = Queue()
    print("waiting for orders")
    while not stopped:
        if order := queue.take():
            process(order)


if __name__ == "__main__":
    main()
