"""Every rule of the model, broken one at a time in every operation's input, sent as bytes: SDKs refuse some of it
themselves and would not send it. The cases are made from the model, so a rule that it gains is tried too.
"""

import copy
import re

from harness import OPERATIONS, RECORD, SHAPES, judge

TEXTS = [
    "0123456789abcdef0123456789abcdef",
    "abcd",
    "PYTHON_311",
    "256",
    "2 GB",
    "arn:aws:apprunner:us-east-1:123456789012:service/demo/0123456789abcdef0123456789abcdef",
    "arn:aws:iam::123456789012:role/service-role/demo",
    "arn:aws:kms:us-east-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef",
]
WRONG_TYPE = {"string": 7, "integer": "7", "boolean": "true", "list": {}, "map": [], "structure": [], "timestamp": "t"}


def sample(name):
    """A value with every member that breaks no rule."""
    shape = SHAPES[name]
    kind = shape["type"]
    if kind == "string":
        texts = shape.get("enum", TEXTS)
        return next(text for text in texts if not judge(name, text))
    if kind == "integer":
        return shape.get("min", 1)
    if kind == "boolean":
        return True
    if kind == "list":
        return [sample(shape["member"]["shape"])]
    if kind == "map":
        return {sample(shape["key"]["shape"]): sample(shape["value"]["shape"])}
    return {member: sample(reference["shape"]) for member, reference in shape["members"].items()}


def lower_first(name):
    return name[:1].lower() + name[1:]


def wrong_texts(name):
    """Texts that break a rule, each with the rule's words in the message."""
    shape = SHAPES[name]
    low, high, pattern = shape.get("min", 0), shape.get("max"), shape.get("pattern", ".*")
    if low > 0:
        yield "x" * (low - 1), f"length greater than or equal to {low}"
    if high is not None:
        yield "x" * (high + 1), f"length less than or equal to {high}"
    if "enum" in shape:
        yield "NOT_A_VALUE", "enum value set: [" + ", ".join(shape["enum"])
    if pattern != ".*":
        texts = (character * max(low, 1) for character in "\n\0 !")
        yield next(text for text in texts if not re.fullmatch(pattern, text)), "regular expression pattern: "


def breaches(name, path, place):
    """What can be wrong at a place of the input, as (path in the message, place, value, code, words)."""
    shape = SHAPES[name]
    kind = shape["type"]
    yield path, place, WRONG_TYPE[kind], "SerializationException", ""
    invalid = "InvalidRequestException"
    if kind == "string":
        for text, words in wrong_texts(name):
            yield path, place, text, invalid, words
    if kind == "integer":
        if "min" in shape:
            yield path, place, shape["min"] - 1, invalid, f"value greater than or equal to {shape['min']}"
        if "max" in shape:
            yield path, place, shape["max"] + 1, invalid, f"value less than or equal to {shape['max']}"
        yield path, place, 2**40, "SerializationException", "32-bit"
    if kind == "list":
        yield path + ".1.member", place + [0], None, invalid, "must not be null"
        yield from breaches(shape["member"]["shape"], path + ".1.member", place + [0])
    if kind == "map":
        for text, words in wrong_texts(shape["key"]["shape"]):
            yield path, place, {text: "v"}, invalid, "Map keys must satisfy constraint: [Member must have " + words
        for text, words in wrong_texts(shape["value"]["shape"]):
            yield path, place, {"K": text}, invalid, "Map value must satisfy constraint: [Member must have " + words
    if kind == "structure":
        for member, reference in shape["members"].items():
            inner = f"{path}.{lower_first(member)}" if path else lower_first(member)
            if member in shape.get("required", []):
                yield inner, place + [member], None, invalid, "must not be null"
                yield inner, place + [member], Ellipsis, invalid, "must not be null"
            yield from breaches(reference["shape"], inner, place + [member])


def broken_input(base, place, value):
    """The input with this value at the place; an ellipsis takes the member away."""
    if not place:
        return value
    body = copy.deepcopy(base)
    at = body
    for step in place[:-1]:
        at = at[step]
    if value is Ellipsis:
        del at[place[-1]]
    else:
        at[place[-1]] = value
    return body


def every_rule(platform):
    tried = 0
    for operation, spec in OPERATIONS.items():
        shape = spec["input"]["shape"]
        base = sample(shape)
        for path, place, value, code, words in breaches(shape, "", []):
            body = broken_input(base, place, value)
            # The whole of a body has no path.
            part = f"'{path}'" if path else "The request body must be"
            message = platform.raw.refused(400, code, part, f"AppRunner.{operation}", body)
            assert words in message, (operation, path, words, message)
            if isinstance(value, str) and SHAPES.get(shape, {}).get("sensitive"):
                assert value not in message, message
            tried += 1
            if code == "InvalidRequestException":
                RECORD.add(operation, code)
    assert tried > 500, tried


def several_at_once(platform):
    """One answer names all that is wrong."""
    message = platform.raw.refused(
        400, "InvalidRequestException", "3 validation errors detected: ", "AppRunner.CreateConnection",
        {"ConnectionName": "a!", "ProviderType": "TAPE"} | {"Tags": [{"Key": "aws:x"}]})
    for part in ("'connectionName'", "'providerType'", "'tags.1.member.key'"):
        assert part in message, message


def values_that_must_not_be_shown(platform):
    base = sample("CreateServiceRequest")
    secret = "hunter2\n"
    repository = base["SourceConfiguration"]["ImageRepository"]["ImageConfiguration"]
    repository["StartCommand"] = secret
    message = platform.raw.refused(
        400, "InvalidRequestException", "startCommand", "AppRunner.CreateService", base)
    assert "hunter2" not in message, message


CASES = [every_rule, several_at_once, values_that_must_not_be_shown]
