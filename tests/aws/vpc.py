"""VPC connectors and VPC ingress connections: their life in the API."""

from harness import ACCOUNT, INVALID, MISSING, QUOTA, UNKNOWN_ID, fresh, hexadecimal, recent

CONNECTORS_MAX = 10
INGRESS_MAX = 2
SUBNETS = ["subnet-0a1b2c3d4e5f60718", "subnet-1a1b2c3d4e5f60718"]
GROUPS = ["sg-0a1b2c3d4e5f60718"]
ENDPOINT = {"VpcId": "vpc-0a1b2c3d4e5f60718", "VpcEndpointId": "vpce-0a1b2c3d4e5f60718"}


def connector(platform, name, **more):
    made = platform.good("CreateVpcConnector", VpcConnectorName=name, Subnets=SUBNETS, **more)
    return made["VpcConnector"]


def delete_connector(platform, named):
    return platform.good("DeleteVpcConnector", VpcConnectorArn=named)["VpcConnector"]


def connectors(platform):
    made = connector(platform, "egress", SecurityGroups=GROUPS, Tags=[{"Key": "a", "Value": "b"}])
    named, shown = fresh(made, "VpcConnectorArn", platform.arn("vpcconnector", "egress", "1"))
    assert shown == {
        "VpcConnectorName": "egress", "VpcConnectorRevision": 1, "Subnets": SUBNETS, "SecurityGroups": GROUPS,
        "Status": "ACTIVE"}, made
    assert platform.good("ListTagsForResource", ResourceArn=named)["Tags"] == [{"Key": "a", "Value": "b"}]
    assert platform.good("DescribeVpcConnector", VpcConnectorArn=named)["VpcConnector"] == made
    second = connector(platform, "egress-two")
    rows = platform.paged("ListVpcConnectors", "VpcConnectors", 1)
    assert {row["VpcConnectorName"] for row in rows} >= {"egress", "egress-two"}, rows
    platform.refused("CreateVpcConnector", INVALID, "", VpcConnectorName="egress", Subnets=SUBNETS)
    platform.refused("CreateVpcConnector", INVALID, "", VpcConnectorName="nowhere", Subnets=[])
    # Nothing acts on it yet, so no service may rely on it.
    platform.refused("CreateService", INVALID, "", ServiceName="outward", SourceConfiguration=platform.source(),
                     NetworkConfiguration={"EgressConfiguration": {"EgressType": "VPC", "VpcConnectorArn": named}})
    deleted = delete_connector(platform, named)
    assert deleted["Status"] == "INACTIVE" and recent(deleted["DeletedAt"]), deleted
    delete_connector(platform, second["VpcConnectorArn"])
    rows = platform.good("ListVpcConnectors")["VpcConnectors"]
    assert named not in [row["VpcConnectorArn"] for row in rows], rows


def refusals_of_connectors(platform):
    for operation in ("DescribeVpcConnector", "DeleteVpcConnector"):
        platform.refused(operation, MISSING, "", VpcConnectorArn=platform.arn("vpcconnector", "gone", "1", UNKNOWN_ID))
        platform.refused(operation, INVALID, "", VpcConnectorArn=platform.arn("service", "gone", UNKNOWN_ID))
        # Configurations alone may be named in part.
        for part in (("gone",), ("gone", "1")):
            platform.refused(operation, INVALID, "NAME/REVISION/ID",
                             VpcConnectorArn=platform.arn("vpcconnector", *part))
    there = len(platform.good("ListVpcConnectors")["VpcConnectors"])
    made = [connector(platform, f"full-{number}") for number in range(CONNECTORS_MAX - there)]
    platform.refused("CreateVpcConnector", QUOTA, "", VpcConnectorName="overfull", Subnets=SUBNETS)
    for each in made:
        delete_connector(platform, each["VpcConnectorArn"])


def made_for(platform, service, name, **more):
    made = platform.good("CreateVpcIngressConnection", ServiceArn=service, VpcIngressConnectionName=name,
                         IngressVpcConfiguration=ENDPOINT, **more)
    return made["VpcIngressConnection"]


def shown(platform, named):
    return platform.good(
        "DescribeVpcIngressConnection", VpcIngressConnectionArn=named)["VpcIngressConnection"]


def listed(platform, **filters):
    given = {"Filter": filters} if filters else {}
    return platform.good("ListVpcIngressConnections", **given)["VpcIngressConnectionSummaryList"]


def ingress(platform):
    # Nothing serves in private yet, so no service may rely on it; the connection itself is recorded whole.
    platform.refused("CreateService", INVALID, "", ServiceName="inward", SourceConfiguration=platform.source(),
                     NetworkConfiguration={"IngressConfiguration": {"IsPubliclyAccessible": False}})
    service = platform.running("inward")
    made = made_for(platform, service, "inward", Tags=[{"Key": "a", "Value": "b"}])
    named = made["VpcIngressConnectionArn"]
    prefix, _, identifier = named.rpartition("/")
    assert prefix == platform.arn("vpcingressconnection", "inward") and hexadecimal(identifier), named
    assert made["Status"] in ("PENDING_CREATION", "AVAILABLE"), made
    assert made["ServiceArn"] == service and made["AccountId"] == ACCOUNT, made
    assert made["VpcIngressConnectionName"] == "inward" and made["IngressVpcConfiguration"] == ENDPOINT, made
    found = shown(platform, named)
    assert found["Status"] == "AVAILABLE" and found["DomainName"] and recent(found["CreatedAt"]), found
    assert platform.good("ListTagsForResource", ResourceArn=named)["Tags"] == [{"Key": "a", "Value": "b"}]
    row = {"VpcIngressConnectionArn": named, "ServiceArn": service}
    assert row in listed(platform)
    assert listed(platform, ServiceArn=service) == [row]
    assert listed(platform, ServiceArn=service, VpcEndpointId=ENDPOINT["VpcEndpointId"]) == [row]
    assert listed(platform, VpcEndpointId="vpce-none") == []
    # An ARN that differs in any part is another service's.
    identifier = service.rpartition("/")[2]
    for other in (platform.arn("service", "another", identifier), service.replace(ACCOUNT, "2" * 12),
                  service.replace(platform.region, "eu-south-1")):
        assert listed(platform, ServiceArn=other) == [], other
    # Where clients inside a VPC are to send their requests.
    targets = platform.good("DescribeCustomDomains", ServiceArn=service)["VpcDNSTargets"]
    assert targets == [{"VpcIngressConnectionArn": named, "VpcId": ENDPOINT["VpcId"],
                        "DomainName": found["DomainName"]}], targets
    # One service, one of them; while it is there the service stays.
    platform.refused("CreateVpcIngressConnection", INVALID, "", ServiceArn=service,
                     VpcIngressConnectionName="another", IngressVpcConfiguration=ENDPOINT)
    platform.refused("DeleteService", INVALID, named, ServiceArn=service)
    other = {"VpcId": "vpc-1a1b2c3d4e5f60718", "VpcEndpointId": "vpce-1a1b2c3d4e5f60718"}
    updated = platform.good(
        "UpdateVpcIngressConnection", VpcIngressConnectionArn=named, IngressVpcConfiguration=other)
    assert updated["VpcIngressConnection"]["IngressVpcConfiguration"] == other, updated
    assert shown(platform, named)["IngressVpcConfiguration"] == other
    deleted = platform.good("DeleteVpcIngressConnection", VpcIngressConnectionArn=named)["VpcIngressConnection"]
    assert deleted["Status"] in ("PENDING_DELETION", "DELETED"), deleted
    assert listed(platform, ServiceArn=service) == []
    platform.remove(service)
    platform.refused("CreateVpcIngressConnection", INVALID, service, ServiceArn=service,
                     VpcIngressConnectionName="late", IngressVpcConfiguration=ENDPOINT)


def pages_and_quota_of_ingress(platform):
    services = [platform.create(f"inward-{number}") for number in range(INGRESS_MAX + 1)]
    made = []
    for number, service in enumerate(services[:INGRESS_MAX]):
        platform.settled(service, "RUNNING")
        made.append(made_for(platform, service, f"inward-{number}")["VpcIngressConnectionArn"])
    platform.paged("ListVpcIngressConnections", "VpcIngressConnectionSummaryList", 1)
    platform.settled(services[-1], "RUNNING")
    platform.refused("CreateVpcIngressConnection", QUOTA, "", ServiceArn=services[-1],
                     VpcIngressConnectionName="overfull", IngressVpcConfiguration=ENDPOINT)
    for named in made:
        platform.good("DeleteVpcIngressConnection", VpcIngressConnectionArn=named)
    platform.remove(*services)


def refusals_of_ingress(platform):
    gone = {"VpcIngressConnectionArn": platform.arn("vpcingressconnection", "gone", UNKNOWN_ID)}
    wrong = {"VpcIngressConnectionArn": platform.arn("service", "gone", UNKNOWN_ID)}
    for operation, more in (("DescribeVpcIngressConnection", {}), ("DeleteVpcIngressConnection", {}),
                            ("UpdateVpcIngressConnection", {"IngressVpcConfiguration": ENDPOINT})):
        platform.refused(operation, MISSING, "", **gone, **more)
        platform.refused(operation, INVALID, "", **wrong, **more)
    # The model of this one has no error for what is not there.
    nobody = platform.arn("service", "gone", UNKNOWN_ID)
    platform.refused("CreateVpcIngressConnection", INVALID, nobody, ServiceArn=nobody,
                     VpcIngressConnectionName="nobody", IngressVpcConfiguration=ENDPOINT)


CASES = [connectors, refusals_of_connectors, ingress, pages_and_quota_of_ingress, refusals_of_ingress]
