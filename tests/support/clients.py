"""Real clients for the services of recipes, as programs for a container."""

from __future__ import annotations

# What pip installs for them.
MODULES = ("boto3", "nats-py", "paho-mqtt", "pika", "psycopg[binary]", "pymemcache", "pymysql", "redis")

# A program for each service that stores a word and gives it back. It knows the service by exported variables alone.
CLIENTS = {
    "postgres": """
import os, sys, psycopg
names = ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE")
assert all(os.environ[name] for name in names)
psycopg.connect("").close()  # by these
with psycopg.connect(os.environ["DATABASE_URL"]) as db:
    if sys.argv[1] == "write":
        db.execute("CREATE TABLE words (word text)")
        db.execute("INSERT INTO words VALUES ('kept')")
    else:
        print(db.execute("SELECT word FROM words").fetchone()[0])
""",
    "mariadb": """
import os, sys, urllib.parse, pymysql
url = urllib.parse.urlsplit(os.environ["DATABASE_URL"])
parts = (url.scheme, url.hostname, url.port, url.username, url.password, url.path[1:])
names = ("MYSQL_HOST", "MYSQL_TCP_PORT", "MYSQL_USER", "MYSQL_PWD", "MYSQL_DATABASE")
assert [str(part) for part in parts] == ["mysql", *(os.environ[name] for name in names)]
db = pymysql.connect(host=parts[1], port=parts[2], user=parts[3], password=parts[4], database=parts[5], autocommit=True)
cursor = db.cursor()
if sys.argv[1] == "write":
    cursor.execute("CREATE TABLE words (word text)")
    cursor.execute("INSERT INTO words VALUES ('kept')")
else:
    cursor.execute("SELECT word FROM words")
    print(cursor.fetchone()[0])
""",
    "redis": """
import os, sys, redis
cache = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
print(cache.get("word")) if sys.argv[1] == "read" else cache.set("word", "kept")
""",
    "memcached": """
import os, sys, urllib.parse
from pymemcache.client.base import Client
url = urllib.parse.urlsplit(os.environ["MEMCACHED_URL"])
assert f"{url.hostname}:{url.port}" == os.environ["MEMCACHE_SERVERS"]
cache = Client(os.environ["MEMCACHE_SERVERS"])
print(cache.get("word")) if sys.argv[1] == "read" else cache.set("word", "kept", noreply=False)
""",
    "rabbitmq": """
import os, sys, pika
channel = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])).channel()
channel.queue_declare("words", durable=True)
if sys.argv[1] == "write":
    channel.confirm_delivery()
    channel.basic_publish("", "words", b"kept", pika.BasicProperties(delivery_mode=2))
else:
    print(channel.basic_get("words", auto_ack=True)[2].decode())
""",
    "nats": """
import asyncio, os, sys, nats
async def main():
    server = await nats.connect(os.environ["NATS_URL"])
    stream = server.jetstream()
    if sys.argv[1] == "write":
        await stream.add_stream(name="words", subjects=["words"])
        await stream.publish("words", b"kept")
    else:
        print((await stream.get_last_msg("words", "words")).data.decode())
    await server.close()
asyncio.run(main())
""",
    "mosquitto": """
import os, sys, urllib.parse
from paho.mqtt import publish, subscribe
url = urllib.parse.urlsplit(os.environ["MQTT_URL"])
where = {"hostname": url.hostname, "port": url.port, "auth": {"username": url.username, "password": url.password}}
if sys.argv[1] == "write":
    publish.single("words", "kept", qos=1, retain=True, **where)
else:
    print(subscribe.simple("words", **where).payload.decode())
""",
    "maildev": """
import json, os, smtplib, sys, urllib.parse, urllib.request
url = urllib.parse.urlsplit(os.environ["SMTP_URL"])
assert [url.hostname, str(url.port)] == [os.environ["SMTP_HOST"], os.environ["SMTP_PORT"]]
if sys.argv[1] == "write":
    with smtplib.SMTP(url.hostname, url.port) as server:
        server.sendmail("shop@example.org", ["ann@example.org"], "Subject: kept\\r\\n\\r\\nword")
else:
    page = urllib.request.Request(os.environ["MAILDEV_URL"], headers={"Accept": "text/html"})
    assert b"<html" in urllib.request.urlopen(page).read().lower()
    print(json.load(urllib.request.urlopen(os.environ["MAILDEV_API"] + "/email"))[0]["subject"])
""",
    "seaweedfs": """
import os, sys, boto3, urllib.request
keys = boto3.Session().get_credentials()
assert keys.access_key == os.environ["AWS_ACCESS_KEY_ID"]
assert keys.secret_key == os.environ["AWS_SECRET_ACCESS_KEY"]
s3 = boto3.client("s3")
assert s3.meta.endpoint_url == os.environ["S3_ENDPOINT"] == os.environ["AWS_ENDPOINT_URL_S3"]
assert s3.meta.region_name == os.environ["AWS_REGION"] == os.environ["AWS_DEFAULT_REGION"]
where = {"Bucket": os.environ["S3_BUCKET"], "Key": "deep/word"}
if sys.argv[1] == "write":
    s3.put_object(Body=b"kept", ContentType="text/x-word", **where)
    s3.put_object(Bucket=where["Bucket"], Key="large", Body=bytes(20_000_000))
else:
    assert s3.head_object(Bucket=where["Bucket"], Key="large")["ContentLength"] == 20_000_000
    found = s3.get_object(**where)
    assert found["ContentType"] == "text/x-word"
    signed = s3.generate_presigned_url("get_object", Params=where)
    assert urllib.request.urlopen(signed).read() == b"kept"
    print(found["Body"].read().decode())
""",
}
