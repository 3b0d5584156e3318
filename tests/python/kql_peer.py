"""Runs queries with duckdb-kql: reads {"tables": {name: {"columns": [[name, type]], "rows": [[...]]}}, "queries": [...]} from
standard input, writes a list with each answer's rows, or the reason why it gave none."""

import datetime
import json
import sys

import duckdb_kql

TYPES = {"string": "VARCHAR", "long": "BIGINT", "int": "INTEGER", "real": "DOUBLE", "bool": "BOOLEAN", "datetime": "TIMESTAMP"}


def cell(value):
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None).isoformat(timespec="microseconds")
    return value


def main():
    given = json.load(sys.stdin)
    connection = duckdb_kql.connect()
    for name, table in given["tables"].items():
        columns = ", ".join(f'"{column}" {TYPES[kind]}' for column, kind in table["columns"])
        connection.execute(f'CREATE TABLE "{name}" ({columns})')
        marks = ", ".join("?" for _ in table["columns"])
        connection.executemany(f'INSERT INTO "{name}" VALUES ({marks})', table["rows"])
    answers = []
    for query in given["queries"]:
        try:
            rows = duckdb_kql.kql(connection, query).fetchall()
            answers.append({"rows": [[cell(it) for it in row] for row in rows]})
        except Exception as error:
            answers.append({"refused": f"{type(error).__name__}: {error}"})
    json.dump(answers, sys.stdout)


main()
