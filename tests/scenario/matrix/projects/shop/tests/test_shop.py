import platform

from shop.db import connect
from shop.stamp import stamp


def test_versions(record_property):
    connection = connect()
    ((version,),) = connection.run("show server_version")
    record_property("python", platform.python_version())
    record_property("postgres", version)
    connection.run("insert into item values ('mine')")
    ((count,),) = connection.run("select count(*) from item")
    assert count == 2001, "the data are those of the migration, and nobody else's"


def test_stamp():
    assert stamp().endswith("+00:00")
