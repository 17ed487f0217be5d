"""Custom domains of a service: association, the records to set, pages, and the end."""

import time

from harness import INVALID, MISSING, STATE, UNKNOWN_ID

DOMAINS_MAX = 5


def described(platform, service, **more):
    return platform.good("DescribeCustomDomains", ServiceArn=service, **more)


def until(platform, service, wanted):
    deadline = time.monotonic() + 60
    while True:
        found = {row["DomainName"]: row for row in described(platform, service)["CustomDomains"]}
        if wanted(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def a_whole_life(platform):
    service = platform.running("domains")
    # A name of DNS has no port; the URL of a platform that is not on the usual one does.
    target = platform.settled(service, "RUNNING")["ServiceUrl"].split(":")[0]
    shown = described(platform, service)
    assert shown == {
        "DNSTarget": target, "ServiceArn": service, "CustomDomains": [], "VpcDNSTargets": []}, (shown, target)
    made = platform.good("AssociateCustomDomain", ServiceArn=service, DomainName="example.com")
    assert (made["DNSTarget"], made["ServiceArn"], made["VpcDNSTargets"]) == (target, service, []), made
    domain = made["CustomDomain"]
    assert (domain["DomainName"], domain["EnableWWWSubdomain"], domain["Status"]) == (
        "example.com", True, "creating"), domain
    pending = "pending_certificate_dns_validation"
    found = until(platform, service, lambda rows: rows["example.com"]["Status"] == pending)["example.com"]
    # One record for the name and one for its www.
    records = found["CertificateValidationRecords"]
    assert len(records) == 2, records
    for record in records:
        assert record["Type"] == "CNAME" and record["Status"] == "PENDING_VALIDATION", record
        assert record["Name"].rstrip(".").endswith("example.com") and record["Value"], record
    platform.refused("AssociateCustomDomain", INVALID, "", ServiceArn=service, DomainName="example.com")
    for number in range(DOMAINS_MAX - 1):
        plain = platform.good("AssociateCustomDomain", ServiceArn=service, DomainName=f"d{number}.example.org",
                              EnableWWWSubdomain=False)
        assert plain["CustomDomain"]["EnableWWWSubdomain"] is False, plain
    platform.refused("AssociateCustomDomain", INVALID, str(DOMAINS_MAX), ServiceArn=service,
                     DomainName="more.example.org")
    until(platform, service, lambda rows: all(row["Status"] == pending for row in rows.values()))
    rows = platform.paged("DescribeCustomDomains", "CustomDomains", 2, ServiceArn=service)
    assert len(rows) == DOMAINS_MAX, rows
    other = platform.running("other-domains")
    for name, taken in (("example.com", "example.com"), ("www.example.com", "www.example.com")):
        platform.refused("AssociateCustomDomain", INVALID, f"The domain {taken} is", ServiceArn=other, DomainName=name)
    for row in rows:
        gone = platform.good("DisassociateCustomDomain", ServiceArn=service, DomainName=row["DomainName"])
        assert gone["DNSTarget"] == target and gone["CustomDomain"]["Status"] == "deleting", gone
    until(platform, service, lambda rows: not rows)
    platform.refused("DisassociateCustomDomain", MISSING, "", ServiceArn=service, DomainName="example.com")
    wild = platform.good("AssociateCustomDomain", ServiceArn=other, DomainName="*.example.com",
                         EnableWWWSubdomain=False)
    assert wild["CustomDomain"]["DomainName"] == "*.example.com", wild
    platform.good("AssociateCustomDomain", ServiceArn=other, DomainName="www.example.net", EnableWWWSubdomain=False)
    platform.refused("AssociateCustomDomain", INVALID, "The domain www.example.net is", ServiceArn=service,
                     DomainName="example.net")
    platform.remove(service, other)
    # What is deleted has none and takes none.
    platform.refused("DisassociateCustomDomain", MISSING, other, ServiceArn=other, DomainName="*.example.com")
    platform.refused("AssociateCustomDomain", INVALID, other, ServiceArn=other, DomainName="example.com")


def refusals(platform):
    gone = platform.arn("service", "gone", UNKNOWN_ID)
    # The model of this one has no error for what is not there.
    platform.refused("AssociateCustomDomain", INVALID, gone, ServiceArn=gone, DomainName="example.com")
    platform.refused("DisassociateCustomDomain", MISSING, gone, ServiceArn=gone, DomainName="example.com")
    platform.refused("DescribeCustomDomains", MISSING, gone, ServiceArn=gone)
    service = platform.running("refused-domains")
    for name in ("login*.example.com", "*.*.example.com", "*.login.example.com", "a..example.com", "-a.example.com",
                 "localhost", "."):
        platform.refused("AssociateCustomDomain", INVALID, "", ServiceArn=service, DomainName=name,
                         EnableWWWSubdomain=False)
    for operation in ("AssociateCustomDomain", "DisassociateCustomDomain", "DescribeCustomDomains"):
        more = {} if operation.startswith("Describe") else {"DomainName": "example.com"}
        platform.refused(operation, INVALID, "", ServiceArn=platform.arn("connection", "a", UNKNOWN_ID), **more)
    platform.remove(service)
    busy = platform.create("busy-domains", "waits")
    for operation in ("AssociateCustomDomain", "DisassociateCustomDomain"):
        platform.refused(operation, STATE, "", ServiceArn=busy, DomainName="example.com")


CASES = [a_whole_life, refusals]
