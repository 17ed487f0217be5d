"""What configurations with revisions have in common: one name, many of them, one built-in."""

from harness import INVALID, MISSING, QUOTA, UNKNOWN_ID

NAMES_MAX = 10


class Configurations:
    """The calls for one kind of them, whose members begin with its noun."""

    def __init__(self, noun, **whole):
        self.noun, self.kind = noun, noun.lower()
        self.name, self.arn, self.revision = f"{noun}Name", f"{noun}Arn", f"{noun}Revision"
        self.list = f"{noun}SummaryList"
        # Members of a deletion that takes every revision with it, where there is one.
        self.whole = whole

    def built_in(self, platform):
        return platform.arn(self.kind, "DefaultConfiguration", "1", "0" * 31 + "1")

    def create(self, platform, name, **more):
        return platform.good(f"Create{self.noun}", **{self.name: name}, **more)[self.noun]

    def describe(self, platform, named):
        return platform.good(f"Describe{self.noun}", **{self.arn: named})[self.noun]

    def delete(self, platform, named, **more):
        return platform.good(f"Delete{self.noun}", **{self.arn: named}, **more)[self.noun]

    def summaries(self, platform, **filters):
        return platform.good(f"List{self.noun}s", **filters)[self.list]

    def create_refused(self, platform, code, name, **more):
        platform.refused(f"Create{self.noun}", code, "", **{self.name: name}, **more)

    def names_have_a_quota(self, platform):
        taken = {row[self.name] for row in self.summaries(platform)}
        names = [f"name-{number}" for number in range(NAMES_MAX - len(taken))]
        for name in names:
            self.create(platform, name)
        self.create_refused(platform, QUOTA, "one-more")
        for name in names:
            self.delete(platform, platform.arn(self.kind, name), **self.whole)

    def what_is_not_there(self, platform, *operations):
        gone = platform.arn(self.kind, "gone", "1", UNKNOWN_ID)
        for operation in operations:
            platform.refused(operation, MISSING, gone, **{self.arn: gone})
            platform.refused(operation, INVALID, "", **{self.arn: platform.arn("service", "a", UNKNOWN_ID)})
