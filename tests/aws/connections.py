"""Connections to providers of source code: they wait for a handshake, and are used by name."""

from harness import INVALID, MISSING, QUOTA, UNKNOWN_ID, fresh

CONNECTIONS_MAX = 10
LIST = "ConnectionSummaryList"


def create(platform, name, provider="GITHUB", **more):
    made = platform.good("CreateConnection", ConnectionName=name, ProviderType=provider, **more)
    return made["Connection"]


def summaries(platform, **filters):
    return platform.good("ListConnections", **filters)[LIST]


def a_whole_life(platform):
    made = create(platform, "github", Tags=[{"Key": "a", "Value": "b"}])
    named, shown = fresh(made, "ConnectionArn", platform.arn("connection", "github"))
    assert shown == {"ConnectionName": "github", "ProviderType": "GITHUB", "Status": "PENDING_HANDSHAKE"}, made
    assert platform.good("ListTagsForResource", ResourceArn=named)["Tags"] == [{"Key": "a", "Value": "b"}]
    # There is no DescribeConnection: this filter is it.
    assert summaries(platform, ConnectionName="github") == [made]
    assert summaries(platform, ConnectionName="nobody") == []
    platform.refused("CreateConnection", INVALID, "", ConnectionName="github", ProviderType="GITHUB")
    create(platform, "bitbucket", "BITBUCKET")
    rows = platform.paged("ListConnections", LIST, 1)
    assert {row["ConnectionName"] for row in rows} >= {"github", "bitbucket"}, rows
    # Nobody has shaken hands, so nothing can be fetched by it.
    platform.refused("CreateService", INVALID, "", ServiceName="connected", SourceConfiguration={
        "AuthenticationConfiguration": {"ConnectionArn": named}, "CodeRepository": {
            "RepositoryUrl": "https://git.test/a.git", "SourceCodeVersion": {"Type": "BRANCH", "Value": "main"},
            "CodeConfiguration": {"ConfigurationSource": "REPOSITORY"}}})
    for name in ("github", "bitbucket"):
        arn_of = summaries(platform, ConnectionName=name)[0]["ConnectionArn"]
        deleted = platform.good("DeleteConnection", ConnectionArn=arn_of)["Connection"]
        assert (deleted["ConnectionName"], deleted["Status"]) == (name, "DELETED"), deleted
        # A deletion that is sent again is none more.
        assert platform.good("DeleteConnection", ConnectionArn=arn_of)["Connection"] == deleted
    assert summaries(platform, ConnectionName="github") == []
    # The name is free again.
    anew = create(platform, "github")
    assert anew["ConnectionArn"] != named
    platform.good("DeleteConnection", ConnectionArn=anew["ConnectionArn"])


def refusals(platform):
    platform.refused("DeleteConnection", MISSING, "", ConnectionArn=platform.arn("connection", "gone", UNKNOWN_ID))
    platform.refused("DeleteConnection", INVALID, "", ConnectionArn=platform.arn("service", "gone", UNKNOWN_ID))
    made = [create(platform, f"full-{number}") for number in range(CONNECTIONS_MAX - len(summaries(platform)))]
    platform.refused("CreateConnection", QUOTA, "", ConnectionName="overfull", ProviderType="GITHUB")
    for each in made:
        platform.good("DeleteConnection", ConnectionArn=each["ConnectionArn"])


CASES = [a_whole_life, refusals]
