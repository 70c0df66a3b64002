"""What schemathesis must know beside the contract: ids and tokens that exist, and what to count.

Generated ids would nearly all be unknown, and a run of 404s says little. So most generated cases get an id of the world
that `check_contract.py` made; the choice depends on the generated case alone, so a seed makes the same requests again.
The rest stay as they were generated.
"""

import collections
import json
import os
import zlib

import schemathesis

WORLD = json.loads(os.environ["PASSBOOK_CONTRACT_WORLD"])
COUNTED = os.environ["PASSBOOK_CONTRACT_COUNTED"]

# Operations that use a link up get links of their own, so that the others keep theirs.
USES_LINKS_UP = {"delete_link", "reset_link"}

counted = collections.Counter()


@schemathesis.hook
def map_case(context, case):
    operation = case.operation.definition.raw["operationId"]
    choose = Choice(case)
    parameters = case.path_parameters
    if parameters and choose.often():
        if operation.startswith("get_user_"):
            parameters["id"] = choose.of(WORLD["users"])
        elif "id" in parameters:
            link = choose.of(WORLD["spare" if operation in USES_LINKS_UP else "links"])
            parameters["id"] = link["id"]
            if "account_id" in parameters:
                parameters["account_id"] = choose.of(link["accounts"] or [parameters["account_id"]])
            if "txn_id" in parameters:
                parameters["txn_id"] = choose.of(link["transactions"] or [parameters["txn_id"]])
        elif "institution_id" in parameters:
            parameters["institution_id"] = choose.of(WORLD["institutions"])
    # Generated credentials beside the good token make nearly every case a 401; that one answer needs few of them.
    if case.headers and not choose.rarely():
        for header in ("X-Client-Id", "X-Client-Secret"):
            case.headers.pop(header, None)
    if operation == "create_access_token":
        # Whoever has no token yet sends none.
        case.headers.pop("Authorization", None)
    body = case.body
    if isinstance(body, dict) and choose.often():
        if operation == "create_access_token":
            body.update(WORLD["credentials"], grant_type="client_credentials")
        elif operation == "exchange_token" and "exchangeable_token" in body:
            body["exchangeable_token"] = choose.of(WORLD["exchangeable_tokens"])
        elif operation == "create_link_session" and "redirect_uri" in body:
            body["redirect_uri"] = WORLD["redirect_uri"]
        elif operation == "import_link" and "institution_id" in body:
            body["institution_id"] = choose.of(WORLD["institutions"])
    return case


class Choice:
    """Choices that follow from a generated case and from nothing else."""

    def __init__(self, case):
        parts = (case.operation.label, case.path_parameters, case.query, case.body)
        self._state = zlib.crc32(repr(parts).encode(errors="replace"))

    def _next(self):
        # A linear congruential step: cheap, and the same on every machine.
        self._state = (self._state * 1_664_525 + 1_013_904_223) % 2**32
        return self._state >> 8

    def often(self):
        return self._next() % 4 != 0

    def rarely(self):
        return self._next() % 32 == 0

    def of(self, values):
        return values[self._next() % len(values)]


@schemathesis.hook
def after_call(context, case, response):
    operation = case.operation.definition.raw["operationId"]
    counted[f"{operation} {response.status_code}"] += 1
    if sum(counted.values()) % 50 == 0:
        write_counted()


def write_counted():
    with open(COUNTED, "w", encoding="utf-8") as file:
        json.dump(counted, file)
