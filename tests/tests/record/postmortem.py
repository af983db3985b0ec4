# Reads the three forms of one export, which must have the same rows, and runs the queries of docs/postmortem.md in
# DuckDB and in ClickHouse's engine, which must answer alike. Arguments: the page, and the name of the process that
# holds 25 connections in CLOSE_WAIT.
import json
import re
import sys

import chdb
import duckdb
import pyarrow.parquet

page, leaker = sys.argv[1:]

parquet = pyarrow.parquet.read_table("changes.parquet")
columns = parquet.column_names
lines = [json.loads(line) for line in open("changes.jsonl")]
assert lines and list(lines[0]) == columns, columns
assert parquet.num_rows == len(lines), (parquet.num_rows, len(lines))
for name in columns:
    if name != "time":
        assert parquet[name].to_pylist() == [line[name] for line in lines], name

duckdb.sql("SET TimeZone = 'UTC'")
typed = ", ".join(f"{name}::VARCHAR" for name in columns if name != "time")
csv = "read_csv('changes.csv', nullstr='', all_varchar=true)"
for one, other in [("'changes.parquet'", csv), (csv, "'changes.parquet'")]:
    rest = duckdb.sql(f"SELECT {typed} FROM {one} EXCEPT ALL SELECT {typed} FROM {other}").fetchall()
    assert rest == [], rest[:3]
same = duckdb.sql("SELECT count(*) FROM 'changes.parquet'").fetchall()[0][0]
assert same == parquet.num_rows
assert int(str(chdb.query("SELECT count() FROM 'changes.parquet'")).strip()) == same
print(f"{same} rows in Parquet, CSV and JSON lines, in pyarrow, DuckDB and ClickHouse")


def plain(value):
    """As text that both engines agree on: numbers to six digits, times without their zone."""
    if isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", value):
        value = float(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.6g}"
    return re.sub(r"(\+00:00)$", "", str(value))


queries = re.findall(r"## (.*?)\n.*?```sql\n(.*?);\n```", open(page).read(), re.S)
assert len(queries) >= 6, len(queries)
answers = {}
for question, query in queries:
    ours = duckdb.sql(query).fetchall()
    text = str(chdb.query(query, "JSONCompactEachRow")).splitlines()
    theirs = [json.loads(line) for line in text if line]
    ours, theirs = ([[plain(value) for value in row] for row in rows] for rows in (ours, theirs))
    assert ours == theirs, (question, ours[:3], theirs[:3])
    answers[question] = ours
    print(f"{question} {len(ours)} rows, such as {ours[:1]}")

longest = answers["Who held CLOSE_WAIT longest?"]
assert any(row[2].startswith(leaker) and int(row[4]) >= 25 for row in longest), longest
assert answers["How did connections end?"] and answers["How long did each state last?"]
assert answers["How many TIME_WAITs begin per destination and minute?"]
