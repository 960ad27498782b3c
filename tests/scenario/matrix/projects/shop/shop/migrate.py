from shop.db import connect

connection = connect()
connection.run("create table item (name text primary key)")
for number in range(2000):
    connection.run("insert into item values (:name)", name=f"item {number}")
print("migrated")
