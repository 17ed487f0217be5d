"""Drives a running platform with boto3, the AWS CLI and signed bytes over every operation of App Runner's API and
every error of its model, and fails when one of them is not covered.

It makes services and other resources and removes them; the platform should hold nothing else meanwhile. Needs
python3 with boto3 and awscli.
"""

import sys
import threading
import time
import traceback

from botocore import xform_name

import command_line
import connections
import domains
import errors
import observability
import protocol
import scaling
import services
import validation
import vpc
from harness import OPERATIONS, RECORD, errors_of, options, platform

# Groups run beside each other, each in a region of its own; a group's own cases follow one another.
GROUPS = [
    ("us-east-2", "validation", validation.CASES),
    ("us-west-1", "protocol", protocol.CASES),
    ("us-east-1", "services", services.CASES),
    ("eu-central-1", "scaling, observability, connections",
     scaling.CASES + observability.CASES + connections.CASES),
    ("sa-east-1", "quota", [services.quota]),
    ("eu-west-2", "command line", command_line.CASES),
    ("ca-central-1", "errors", errors.CASES),
    ("ap-south-1", "vpc, domains", vpc.CASES + domains.CASES),
]
# Beside all others, since it only waits.
BESIDE = [("us-west-2", "load", protocol.BESIDE)]
# After all others: nothing works meanwhile.
AFTER = [("us-east-1", "faults", errors.AFTER)]


class Results:
    def __init__(self):
        self.lock = threading.Lock()
        self.passed, self.failed = 0, []

    def run(self, platform, group, cases, only):
        for case in cases:
            name = f"{group}: {case.__name__}"
            if only and only not in name:
                continue
            began = time.monotonic()
            try:
                case(platform)
                why = None
            except Exception:
                why = traceback.format_exc()
            took = time.monotonic() - began
            with self.lock:
                print(f"{'ok    ' if why is None else 'FAILED'} {name} ({took:.1f} s)", flush=True)
                if why is None:
                    self.passed += 1
                else:
                    print(why, flush=True)
                    self.failed.append(name)


def coverage():
    """What the cases did not look at, and what stands in the list without need."""
    missing, not_provoked = [], errors.not_provoked()
    for operation in OPERATIONS:
        seen = RECORD.seen[operation]
        if "ok" not in seen:
            missing.append(f"{operation}: no case looks at its answer")
        if xform_name(operation, "-") not in command_line.CALLED:
            missing.append(f"{operation}: the AWS CLI does not call it")
        for error in sorted(errors_of(operation)):
            excused = (operation, error) in not_provoked
            if error in seen and excused:
                missing.append(f"{operation}: {error} is provoked; take it from those that cannot be")
            if error not in seen and not excused:
                missing.append(f"{operation}: no case provokes {error}")
    return missing


def main():
    parser = options(__doc__)
    parser.add_argument("--only", default="", help="cases whose name has this; no check of what is covered then")
    given = parser.parse_args()
    results = Results()
    # Each with a platform of its own: a kept connection belongs to one thread.
    threads = [threading.Thread(target=results.run, args=(platform(given, region), name, cases, given.only))
               for region, name, cases in GROUPS + BESIDE]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for region, name, cases in AFTER:
        results.run(platform(given, region), name, cases, given.only)
    missing = [] if given.only else coverage()
    for line in missing:
        print(f"not covered: {line}")
    print(f"{RECORD.assertions} answers looked at, {len(OPERATIONS)} operations")
    print(f"{results.passed} cases passed, {len(results.failed)} failed, {len(missing)} not covered")
    sys.exit(1 if results.failed or missing else 0)


if __name__ == "__main__":
    main()
