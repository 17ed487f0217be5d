"""Observability configurations: revisions of one name, the built-in one, and their end."""

from configurations import Configurations
from harness import INVALID, MISSING, QUOTA, fresh, recent

OF = Configurations("ObservabilityConfiguration")
KIND, LIST = OF.kind, OF.list
built_in, create, describe, delete, summaries = OF.built_in, OF.create, OF.describe, OF.delete, OF.summaries
REVISIONS_MAX = 10


def revisions(platform):
    first = create(platform, "watch", TraceConfiguration={"Vendor": "AWSXRAY"}, Tags=[{"Key": "a", "Value": "b"}])
    named, shown = fresh(first, "ObservabilityConfigurationArn", platform.arn(KIND, "watch", "1"))
    assert shown == {
        "ObservabilityConfigurationName": "watch", "ObservabilityConfigurationRevision": 1, "Latest": True,
        "Status": "ACTIVE", "TraceConfiguration": {"Vendor": "AWSXRAY"}}, first
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
    OF.create_refused(platform, INVALID, "DefaultConfiguration")
    platform.refused("DeleteObservabilityConfiguration", INVALID, "", ObservabilityConfigurationArn=built_in(platform))


def refusals(platform):
    for _ in range(REVISIONS_MAX):
        create(platform, "full")
    OF.create_refused(platform, QUOTA, "full")
    for _ in range(REVISIONS_MAX):
        delete(platform, platform.arn(KIND, "full"))
    OF.names_have_a_quota(platform)
    OF.what_is_not_there(platform, "DescribeObservabilityConfiguration", "DeleteObservabilityConfiguration")


CASES = [revisions, the_built_in_one, refusals]
