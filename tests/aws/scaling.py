"""Auto scaling configurations: revisions, the latest one, the default, use by services, and their end."""

from configurations import Configurations
from harness import INVALID, MISSING, QUOTA, fresh, recent

OF = Configurations("AutoScalingConfiguration", DeleteAllRevisions=True)
KIND, LIST = OF.kind, OF.list
built_in, create, describe, delete, summaries = OF.built_in, OF.create, OF.describe, OF.delete, OF.summaries
REVISIONS_MAX = 5


def revisions(platform):
    first = create(platform, "scale", Tags=[{"Key": "team", "Value": "blue"}])
    named, shown = fresh(first, "AutoScalingConfigurationArn", platform.arn(KIND, "scale", "1"))
    assert shown == {
        "AutoScalingConfigurationName": "scale", "AutoScalingConfigurationRevision": 1, "Latest": True,
        "Status": "active", "MaxConcurrency": 100, "MinSize": 1, "MaxSize": 25, "HasAssociatedService": False,
        "IsDefault": False}, first
    listed = platform.good("ListTagsForResource", ResourceArn=named)["Tags"]
    assert listed == [{"Key": "team", "Value": "blue"}], listed
    second = create(platform, "scale", MaxConcurrency=50, MinSize=2, MaxSize=3)
    assert (second["AutoScalingConfigurationRevision"], second["Latest"]) == (2, True), second
    assert (second["MaxConcurrency"], second["MinSize"], second["MaxSize"]) == (50, 2, 3), second
    assert describe(platform, named) == first | {"Latest": False}
    # Without a revision: the latest. Without an id: that revision.
    for name in (second["AutoScalingConfigurationArn"], platform.arn(KIND, "scale"), platform.arn(KIND, "scale", "2")):
        assert describe(platform, name) == second, name
    assert describe(platform, platform.arn(KIND, "scale", "1"))["AutoScalingConfigurationArn"] == named
    lists(platform)
    deleted = delete(platform, platform.arn(KIND, "scale"))
    assert deleted["AutoScalingConfigurationRevision"] == 2 and deleted["Status"] == "inactive", deleted
    assert recent(deleted["DeletedAt"])
    assert describe(platform, named)["Latest"] is True
    platform.refused("DeleteAutoScalingConfiguration", INVALID, "",
                     AutoScalingConfigurationArn=named, DeleteAllRevisions=True)
    create(platform, "scale")
    delete(platform, platform.arn(KIND, "scale"), DeleteAllRevisions=True)
    assert "scale" not in [row["AutoScalingConfigurationName"] for row in summaries(platform)]
    platform.refused("DescribeAutoScalingConfiguration", MISSING, "",
                     AutoScalingConfigurationArn=platform.arn(KIND, "scale"))


def lists(platform):
    rows = [row["AutoScalingConfigurationArn"] for row in summaries(platform)]
    assert built_in(platform) in rows and len([row for row in rows if f":{KIND}/scale/" in row]) == 1, rows
    every = summaries(platform, LatestOnly=False, AutoScalingConfigurationName="scale")
    assert {row["AutoScalingConfigurationRevision"] for row in every} == {1, 2}, every
    latest = summaries(platform, AutoScalingConfigurationName="scale")
    assert [row["AutoScalingConfigurationRevision"] for row in latest] == [2], latest
    assert summaries(platform, AutoScalingConfigurationName="nobody") == []
    row = latest[0]
    assert set(row) == {"AutoScalingConfigurationArn", "AutoScalingConfigurationName", "Status", "CreatedAt",
                        "AutoScalingConfigurationRevision", "HasAssociatedService", "IsDefault"}, row
    assert (row["Status"], row["HasAssociatedService"], row["IsDefault"]) == ("active", False, False), row
    platform.paged("ListAutoScalingConfigurations", LIST, 1, LatestOnly=False)


def the_default(platform):
    shown = describe(platform, built_in(platform))
    assert (shown["MaxConcurrency"], shown["MinSize"], shown["MaxSize"]) == (100, 1, 25), shown
    assert shown["IsDefault"] is True and shown["Status"] == "active", shown
    mine = create(platform, "mine", MaxSize=2)["AutoScalingConfigurationArn"]
    try:
        made = platform.good("UpdateDefaultAutoScalingConfiguration", AutoScalingConfigurationArn=mine)
        assert made["AutoScalingConfiguration"]["IsDefault"] is True
        defaults = [row for row in summaries(platform) if row["IsDefault"]]
        assert [row["AutoScalingConfigurationArn"] for row in defaults] == [mine], defaults
        assert describe(platform, built_in(platform))["IsDefault"] is False
        platform.refused("DeleteAutoScalingConfiguration", INVALID, "default", AutoScalingConfigurationArn=mine)
        service = platform.running("default-scaled")
        shown = platform.settled(service, "RUNNING")["AutoScalingConfigurationSummary"]
        assert shown["AutoScalingConfigurationArn"] == mine, shown
    finally:
        platform.good("UpdateDefaultAutoScalingConfiguration",
                      AutoScalingConfigurationArn=platform.arn(KIND, "DefaultConfiguration"))
    platform.remove(service)
    delete(platform, mine)


def in_use(platform):
    named = create(platform, "used", MaxSize=3)["AutoScalingConfigurationArn"]
    latest = {"AutoScalingConfigurationArn": platform.arn(KIND, "used")}
    services = [platform.create(f"used-{number}", **latest) for number in range(3)]
    for each in services:
        shown = platform.settled(each, "RUNNING")["AutoScalingConfigurationSummary"]
        # A name means the revision that was the latest then, and the answer says which.
        assert shown["AutoScalingConfigurationArn"] == named, shown
    listed = platform.paged("ListServicesForAutoScalingConfiguration", "ServiceArnList", 1,
                            AutoScalingConfigurationArn=named)
    assert sorted(listed) == sorted(services), listed
    assert describe(platform, named)["HasAssociatedService"] is True
    platform.refused("DeleteAutoScalingConfiguration", INVALID, "", AutoScalingConfigurationArn=named)
    other = create(platform, "used", MaxSize=4)["AutoScalingConfigurationArn"]
    shown = platform.settled(services[0], "RUNNING")["AutoScalingConfigurationSummary"]
    assert shown["AutoScalingConfigurationArn"] == named, "a later revision changes no service by itself"
    platform.good("UpdateService", ServiceArn=services[0], AutoScalingConfigurationArn=other)
    shown = platform.settled(services[0], "RUNNING")["AutoScalingConfigurationSummary"]
    assert shown["AutoScalingConfigurationArn"] == other, shown
    platform.remove(*services)
    assert describe(platform, named)["HasAssociatedService"] is False
    delete(platform, platform.arn(KIND, "used"), DeleteAllRevisions=True)


def refusals(platform):
    OF.create_refused(platform, INVALID, "upside", MinSize=5, MaxSize=4)
    for number in range(REVISIONS_MAX):
        create(platform, "full", MaxSize=number + 1)
    OF.create_refused(platform, QUOTA, "full")
    delete(platform, platform.arn(KIND, "full"), DeleteAllRevisions=True)
    OF.names_have_a_quota(platform)
    OF.what_is_not_there(platform, "DescribeAutoScalingConfiguration", "DeleteAutoScalingConfiguration",
                         "UpdateDefaultAutoScalingConfiguration", "ListServicesForAutoScalingConfiguration")


CASES = [revisions, the_default, in_use, refusals]
