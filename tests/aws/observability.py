"""Observability configurations: revisions of one name, the built-in one, and their end."""

from harness import UNKNOWN_ID, hexadecimal, recent

INVALID, MISSING, QUOTA = "InvalidRequestException", "ResourceNotFoundException", "ServiceQuotaExceededException"
KIND = "observabilityconfiguration"
REVISIONS_MAX = 10
NAMES_MAX = 10
LIST = "ObservabilityConfigurationSummaryList"


def built_in(platform):
    return platform.arn(KIND, "DefaultConfiguration", "1", "0" * 31 + "1")


def create(platform, name, **more):
    made = platform.good("CreateObservabilityConfiguration", ObservabilityConfigurationName=name, **more)
    return made["ObservabilityConfiguration"]


def describe(platform, named):
    return platform.good(
        "DescribeObservabilityConfiguration", ObservabilityConfigurationArn=named)["ObservabilityConfiguration"]


def delete(platform, named):
    return platform.good(
        "DeleteObservabilityConfiguration", ObservabilityConfigurationArn=named)["ObservabilityConfiguration"]


def summaries(platform, **filters):
    return platform.good("ListObservabilityConfigurations", **filters)[LIST]


def revisions(platform):
    first = create(platform, "watch", TraceConfiguration={"Vendor": "AWSXRAY"}, Tags=[{"Key": "a", "Value": "b"}])
    named = first["ObservabilityConfigurationArn"]
    prefix, _, identifier = named.rpartition("/")
    assert prefix == platform.arn(KIND, "watch", "1") and hexadecimal(identifier), named
    assert {name: first[name] for name in first if name not in ("ObservabilityConfigurationArn", "CreatedAt")} == {
        "ObservabilityConfigurationName": "watch", "ObservabilityConfigurationRevision": 1, "Latest": True,
        "Status": "ACTIVE", "TraceConfiguration": {"Vendor": "AWSXRAY"}}, first
    assert recent(first["CreatedAt"])
    assert platform.good("ListTagsForResource", ResourceArn=named)["Tags"] == [{"Key": "a", "Value": "b"}]
    second = create(platform, "watch")
    assert second["ObservabilityConfigurationRevision"] == 2 and "TraceConfiguration" not in second, second
    assert describe(platform, named)["Latest"] is False
    whole = second["ObservabilityConfigurationArn"]
    for name in (whole, platform.arn(KIND, "watch"), platform.arn(KIND, "watch", "2")):
        assert describe(platform, name) == second, name
    every = summaries(platform, LatestOnly=False, ObservabilityConfigurationName="watch")
    assert {row["ObservabilityConfigurationRevision"] for row in every} == {1, 2}, every
    assert set(every[0]) == {"ObservabilityConfigurationArn", "ObservabilityConfigurationName",
                             "ObservabilityConfigurationRevision"}, every
    latest = summaries(platform, ObservabilityConfigurationName="watch")
    assert [row["ObservabilityConfigurationRevision"] for row in latest] == [2], latest
    platform.paged("ListObservabilityConfigurations", LIST, 1, LatestOnly=False)
    deleted = delete(platform, platform.arn(KIND, "watch"))
    assert (deleted["ObservabilityConfigurationRevision"], deleted["Status"]) == (2, "INACTIVE"), deleted
    assert recent(deleted["DeletedAt"])
    assert describe(platform, platform.arn(KIND, "watch"))["ObservabilityConfigurationRevision"] == 1
    delete(platform, named)
    platform.refused("DescribeObservabilityConfiguration", MISSING, "",
                     ObservabilityConfigurationArn=platform.arn(KIND, "watch"))


def the_built_in_one(platform):
    shown = describe(platform, built_in(platform))
    assert shown["ObservabilityConfigurationName"] == "DefaultConfiguration", shown
    assert built_in(platform) in [row["ObservabilityConfigurationArn"] for row in summaries(platform)]
    platform.refused("CreateObservabilityConfiguration", INVALID, "",
                     ObservabilityConfigurationName="DefaultConfiguration")
    platform.refused("DeleteObservabilityConfiguration", INVALID, "", ObservabilityConfigurationArn=built_in(platform))


def refusals(platform):
    for _ in range(REVISIONS_MAX):
        create(platform, "full")
    platform.refused("CreateObservabilityConfiguration", QUOTA, "", ObservabilityConfigurationName="full")
    for _ in range(REVISIONS_MAX):
        delete(platform, platform.arn(KIND, "full"))
    names = [f"name-{number}" for number in range(NAMES_MAX + 1)]
    made = []
    taken = {row["ObservabilityConfigurationName"] for row in summaries(platform)}
    for name in names:
        if len(taken) + len(made) >= NAMES_MAX:
            platform.refused("CreateObservabilityConfiguration", QUOTA, "", ObservabilityConfigurationName=name)
            break
        create(platform, name)
        made.append(name)
    else:
        raise AssertionError("names have no quota")
    for name in made:
        delete(platform, platform.arn(KIND, name))
    for operation in ("DescribeObservabilityConfiguration", "DeleteObservabilityConfiguration"):
        gone = platform.arn(KIND, "gone", "1", UNKNOWN_ID)
        platform.refused(operation, MISSING, gone, ObservabilityConfigurationArn=gone)
        platform.refused(operation, INVALID, "", ObservabilityConfigurationArn=platform.arn("service", "a", UNKNOWN_ID))


CASES = [revisions, the_built_in_one, refusals]
