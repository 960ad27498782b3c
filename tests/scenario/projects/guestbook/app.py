"""A guest book: Flask and MariaDB."""

import os

import pymysql
from flask import Flask, request

app = Flask(__name__)


def query(statement, *values):
    with (
        pymysql.connect(
            host=os.environ["MYSQL_HOST"],
            user=os.environ["MYSQL_USER"],
            password=os.environ["MYSQL_PWD"],
            database=os.environ["MYSQL_DATABASE"],
            autocommit=True,
        ) as db,
        db.cursor() as cursor,
    ):
        cursor.execute("CREATE TABLE IF NOT EXISTS entries (id INT AUTO_INCREMENT PRIMARY KEY, text TEXT)")
        cursor.execute(statement, values)
        return cursor.fetchall()


@app.get("/")
def entries():
    return [text for (text,) in query("SELECT text FROM entries ORDER BY id")]


@app.post("/")
def sign():
    query("INSERT INTO entries (text) VALUES (%s)", request.get_data(as_text=True))
    return "", 201


@app.cli.command()
def count():
    print(query("SELECT count(*) FROM entries")[0][0])
