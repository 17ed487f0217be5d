"""A database that fails: every operation answers InternalServiceErrorException, and works again when it is mended.

The fault is a real one: another process takes the tables away, under other names, and gives them back. Only the
access keys stay, so that a caller is still known. As a program it does so for the time of another one: the arguments
are the database and a command.
"""

import sqlite3
import subprocess
import sys

from harness import OPERATIONS, SHAPES, UNKNOWN_ID
from validation import sample

KEPT = ("access_key", "_sqlx_migrations", "sqlite_")
AWAY = "away_"
COMMAND_S_MAX = 60


def rename(database, tables, to):
    connection = sqlite3.connect(database, timeout=20, isolation_level=None)
    try:
        # References of other tables and indices follow the name by themselves, unless told not to.
        connection.execute("PRAGMA legacy_alter_table = ON")
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("BEGIN IMMEDIATE")
        for table in tables:
            old, new = (table, AWAY + table) if to == AWAY else (AWAY + table, table)
            connection.execute(f'ALTER TABLE "{old}" RENAME TO "{new}"')
        connection.execute("COMMIT")
    finally:
        connection.close()


def tables_of(database):
    connection = sqlite3.connect(database, timeout=20)
    try:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    finally:
        connection.close()
    return [name for name in names if not name.startswith(KEPT)]


def every_operation_without_its_tables(platform):
    service = platform.running("before-the-fault")
    inputs = {operation: arguments(platform, operation, service) for operation in OPERATIONS}
    tables = tables_of(platform.database)
    assert "service" in tables, tables
    rename(platform.database, tables, AWAY)
    try:
        for operation, given in inputs.items():
            message = platform.refused(operation, "InternalServiceErrorException", "", **given)
            assert "sql" not in message.lower() and "table" not in message.lower(), message
    finally:
        rename(platform.database, tables, "")
    platform.settled(service, "RUNNING")
    platform.good("StartDeployment", ServiceArn=service)
    platform.settled(service, "RUNNING")
    platform.remove(service)


def arguments(platform, operation, service):
    """An input that is right as far as can be told without the database: the required members."""
    shape = SHAPES[OPERATIONS[operation]["input"]["shape"]]
    known = {
        "ServiceArn": service,
        "ResourceArn": service,
        "ConnectionArn": platform.arn("connection", "name", UNKNOWN_ID),
        "AutoScalingConfigurationArn": platform.arn("autoscalingconfiguration", "name", "1", UNKNOWN_ID),
        "ObservabilityConfigurationArn": platform.arn("observabilityconfiguration", "name", "1", UNKNOWN_ID),
        "VpcConnectorArn": platform.arn("vpcconnector", "name", "1", UNKNOWN_ID),
        "VpcIngressConnectionArn": platform.arn("vpcingressconnection", "name", UNKNOWN_ID),
        "SourceConfiguration": platform.source(),
        "DomainName": "example.com",
    }
    return {member: known.get(member) or sample(shape["members"][member]["shape"])
            for member in shape.get("required", [])}


def main():
    database, *command = sys.argv[1:]
    tables = tables_of(database)
    rename(database, tables, AWAY)
    try:
        status = subprocess.run(command, timeout=COMMAND_S_MAX, check=False).returncode
    finally:
        rename(database, tables, "")
    sys.exit(status)


CASES = [every_operation_without_its_tables]

if __name__ == "__main__":
    main()
