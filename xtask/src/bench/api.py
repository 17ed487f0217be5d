"""Times calls of the API on a platform whose region is filled by copying one settled service's rows.

usage: api.py DATA_DIRECTORY CALLS SERVICES OPERATIONS SLOTS REVISIONS LISTED...
Before calls are timed each service has a history: so many ended operations, of which some are too many to be kept, so
many gone slots, half of which are old enough to be forgotten, and so many revisions. Control is killed then, and calls
are timed from when its successor answers: its housekeeping forgets meanwhile what is too much. That is done in several
rounds, and each figure is the median of theirs.
The environment says where the API is and with which key, as `apron env` prints it. Prints JSON.
"""

import http.client
import json
import os
import signal
import sqlite3
import statistics
import sys
import time
from urllib.parse import urlsplit

import boto3
import botocore.auth
import botocore.awsrequest

data = sys.argv[1]
calls, services, operations, slots, revisions, *listed = map(int, sys.argv[2:])
database = os.path.join(data, "control/apron.db")
DAY_MS = 24 * 60 * 60 * 1000
# Services whose history is written in one transaction; the platform writes between them.
SERVICES_AT_ONCE = 20
# Pages that are timed of each list.
PAGES = 100
START_WAIT_S = 60
# Odd, so that a median is a figure of one of them.
ROUNDS = 3
# A deployment that fails at once takes about as long: what is timed is the call beside settled services.
CREATE_PAUSE_S = 0.05
client = boto3.client("apprunner")
home = client.meta.region_name
endpoint = client.meta.endpoint_url
host = urlsplit(endpoint).netloc
credentials = boto3.Session().get_credentials()


def fill(region, until):
    """Copies the template's row until the region has so many services."""
    connection = sqlite3.connect(database, timeout=30)
    with connection:
        present = connection.execute(
            "SELECT COUNT(*) FROM service WHERE deleted_at IS NULL AND region = ?", (region,)
        ).fetchone()[0]
        columns = [row[1] for row in connection.execute("PRAGMA table_info(service)")]
        # Ids and labels are those of one service in all regions.
        taken = connection.execute("SELECT COUNT(*) FROM service").fetchone()[0]
        own = {
            "id": f"printf('%032x', n + {taken} + 4096)",
            "region": "?",
            "name": "'filled-' || n",
            "url_label": f"'f' || printf('%09d', n + {taken})",
            "created_at": "created_at + n",
        }
        values = ", ".join(own.get(column, column) for column in columns)
        connection.execute(
            f"""WITH RECURSIVE series (n) AS (SELECT ? UNION ALL SELECT n + 1 FROM series WHERE n + 1 < ?)
                INSERT INTO service ({", ".join(columns)}) SELECT {values} FROM service, series
                WHERE service.name = 'template'""",
            (present, until, region),
        )
    connection.close()


def newest(connection, table):
    """The number of the newest row that the template has in a table."""
    return connection.execute(
        f"""SELECT MAX({table}.rowid) FROM {table} JOIN service ON service.id = {table}.service
            WHERE service.name = 'template'"""
    ).fetchone()[0]


def copies(connection, table, row, service, own, many):
    """Copies a row of the table for a service; the copies are numbered 0 to `many` - 1 as n."""
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[1] != "seq"]
    values = ", ".join({"service": "?", **own}.get(column, f"row.{column}") for column in columns)
    connection.execute(
        f"""WITH RECURSIVE series (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM series WHERE n + 1 < ?)
            INSERT OR IGNORE INTO {table} ({", ".join(columns)}) SELECT {values} FROM series, {table} AS row
            WHERE row.rowid = ?""",
        (many, service, row),
    )


def remember():
    """Gives each service the rows that its deployments would have left."""
    connection = sqlite3.connect(database, timeout=30)
    # It is not the writing of these rows that is measured.
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -200000")
    names = [row[0] for row in connection.execute("SELECT id FROM service WHERE deleted_at IS NULL")]
    operation, revision, slot = (newest(connection, table) for table in ("operation", "revision", "slot"))
    fresh = "lower(hex(randomblob(16)))"
    for first in range(0, len(names), SERVICES_AT_ONCE):
        with connection:
            for name in names[first : first + SERVICES_AT_ONCE]:
                copies(connection, "operation", operation, name, {"id": fresh}, operations)
                copies(connection, "revision", revision, name, {"number": "n + 1"}, revisions)
                old = f"row.gone_at - (n % 2) * {DAY_MS} - n"
                copies(connection, "slot", slot, name, {"id": fresh, "gone_at": old}, slots)
    connection.close()


def rows():
    connection = sqlite3.connect(database, timeout=30)
    counted = [connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in ("operation", "slot")]
    connection.close()
    return sum(counted)


def kill_control():
    """Ends control, and waits for its successor to answer."""
    global connection
    with open(os.path.join(data, "run/control.json")) as record:
        pid = json.load(record)["pid"]
    os.kill(pid, signal.SIGKILL)
    give_up = time.monotonic() + START_WAIT_S
    while True:
        connection.close()
        connection = http.client.HTTPConnection(host, timeout=START_WAIT_S)
        try:
            call("ListServices", {"MaxResults": 1})
            return
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.02)


def signed(operation, body, region):
    data = json.dumps(body).encode()
    request = botocore.awsrequest.AWSRequest(
        "POST",
        endpoint + "/",
        data=data,
        headers={
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"AppRunner.{operation}",
            "Host": host,
        },
    )
    botocore.auth.SigV4Auth(credentials, "apprunner", region).add_auth(request)
    return data, dict(request.headers)


connection = http.client.HTTPConnection(host)


def call(operation, body, region=home):
    """Milliseconds from the request's first byte to the answer's last one."""
    data, headers = signed(operation, body, region)
    began = time.perf_counter()
    connection.request("POST", "/", data, headers)
    answer = connection.getresponse()
    text = answer.read()
    took = (time.perf_counter() - began) * 1000
    if answer.status != 200:
        sys.exit(f"{operation}: {answer.status} {text[:300]!r}")
    return took, json.loads(text)


def timed(operation, bodies, through_boto3, pause):
    """What the calls take, and the same through boto3, with a pause in seconds after each."""
    took, other = [], []
    for body in bodies:
        took.append(call(operation, body)[0])
        time.sleep(pause)
    took.sort()
    for body in through_boto3:
        began = time.perf_counter()
        client._make_api_call(operation, body)
        other.append((time.perf_counter() - began) * 1000)
        time.sleep(pause)
    return {
        "calls": len(took),
        "median": statistics.median(took),
        "p99": took[-(-len(took) * 99 // 100) - 1],
        "boto3_median": statistics.median(other),
    }


def last_page(region):
    """What asks for the last page of ten of a region's services."""
    token = None
    while True:
        body = {"MaxResults": 10, **({"NextToken": token} if token else {})}
        _, answer = call("ListServices", body, region)
        token = answer.get("NextToken")
        if not token:
            return body


def lists():
    """What the last page takes in regions of so many services, in turn: whatever else goes on meets all of them."""
    regions = {number: f"listed-{number}" for number in sorted(listed)}
    for number, region in regions.items():
        fill(region, number)
    pages = {number: last_page(region) for number, region in regions.items()}
    took = {number: [] for number in regions}
    for _ in range(PAGES):
        for number, region in regions.items():
            took[number].append(call("ListServices", pages[number], region)[0])
    return [[number, statistics.median(pages)] for number, pages in took.items()]


def new():
    return {
        "ServiceName": next(names),
        "SourceConfiguration": {
            # Refused by the registry client at once: what is timed is the call, not the deployment.
            "ImageRepository": {"ImageIdentifier": "127.0.0.1:1/none:1", "ImageRepositoryType": "ECR_PUBLIC"}
        },
    }


def one_round():
    """Both calls, beside the housekeeping of a control that has just begun."""
    remember()
    kill_control()
    before = rows()
    body = {"ServiceArn": client.list_services()["ServiceSummaryList"][0]["ServiceArn"]}
    describe = timed("DescribeService", [body] * calls, [body] * 50, 0)
    create = timed("CreateService", [new() for _ in range(calls // 4)], [new() for _ in range(20)], CREATE_PAUSE_S)
    forgotten = before - rows()
    if forgotten <= 0:
        sys.exit(f"nothing was forgotten while calls were timed: there were {before} rows")
    return {"describe": describe, "create": create, "forgotten": forgotten}


def of_rounds(rounds, call):
    """The median of each figure: a round in which the machine did something else does not decide."""
    median = {figure: statistics.median(done[call][figure] for done in rounds) for figure in rounds[0][call]}
    return {**median, "calls": sum(done[call]["calls"] for done in rounds)}


names = (f"made-{n}" for n in range(ROUNDS * (calls + 1000)))
fill(home, services)
rounds = [one_round() for _ in range(ROUNDS)]
print(json.dumps({
    "rounds": ROUNDS,
    "describe": of_rounds(rounds, "describe"),
    "create": of_rounds(rounds, "create"),
    "forgotten": sum(done["forgotten"] for done in rounds),
    "lists": lists(),
}))
