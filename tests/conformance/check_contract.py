"""Holds a running server to contract/openapi.yaml with schemathesis.

    check_contract.py --url URL --client-id ID --client-secret SECRET [--seed N] [--examples N]

Generated requests, valid and not, alone and in chains, against every operation: no status that the contract does not
document, no body that does not fit its schema, no 5xx. Prints one JSON line: requests in all, by operation and status.
The secret may come from the environment, PASSBOOK_CLIENT_SECRET, so that no list of processes shows it.
"""

import argparse
import atexit
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).parent
CONTRACT = HERE.parent.parent / "contract" / "openapi.yaml"
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
    "use_after_free",
]
INSTITUTIONS = ["credentials_bank", "instant_bank", "oauth_bank"]
REDIRECT_URI = "http://localhost:3000/callback"
# Links that a deleting or resetting case may use up, and tokens that an exchange may spend.
SPARE_LINKS = 24
TOKENS = 24


class Client:
    """Calls that make the world; each must succeed."""

    def __init__(self, url, credentials):
        self.url = url
        form = urllib.parse.urlencode({"grant_type": "client_credentials", **credentials}).encode()
        self.token = None
        self.token = self.call("POST", "/auth/token", form)["access_token"]

    def call(self, method, path, body=None):
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)
        if isinstance(body, dict):
            request.add_header("Content-Type", "application/json")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{method} {path}: {error.code} {error.read().decode()}") from None

    def sandbox_link(self, user, **more):
        return self.call("POST", "/sandbox/links", {"customer_user": {"id": user}, **more})


def make_world(client, credentials):
    """Links in every state, with the ids of what they hold."""

    def known(link_id):
        return {"id": link_id, "accounts": [], "transactions": []}

    def rich(link_id):
        accounts = client.call("GET", f"/links/{link_id}/accounts")["accounts"]
        transactions = client.call("GET", f"/links/{link_id}/transactions")["transactions"]
        accounts = [account["account_id"] for account in accounts]
        return {"id": link_id, "accounts": accounts, "transactions": [item["transaction_id"] for item in transactions]}

    connected = [
        rich(client.sandbox_link("contract-user-1")["link_id"]),
        rich(client.sandbox_link("contract-user-1", institution_id="instant_bank")["link_id"]),
        rich(client.sandbox_link("contract-user-2", username="user_many")["link_id"]),
    ]
    few = client.sandbox_link("contract-user-3", settings={"products": {"identity": {"prefetch": True}}})
    failed = client.sandbox_link("contract-user-3", username="user_bad")
    waiting = client.sandbox_link("contract-user-4", exchange=False)
    deleted = client.sandbox_link("contract-user-4")["link_id"]
    client.call("DELETE", f"/links/{deleted}")
    imported = client.call("POST", "/links/import", imported_link())["link_id"]
    others = [few["link_id"], failed["link_id"], waiting["link_id"], deleted]
    spare = [known(client.sandbox_link("contract-spare")["link_id"]) for _ in range(SPARE_LINKS)]
    tokens = [client.sandbox_link("contract-token", exchange=False)["exchangeable_token"] for _ in range(TOKENS)]
    return {
        # What can be read comes up more often than what cannot.
        "links": connected * 3 + [rich(imported)] * 2 + [known(link_id) for link_id in others],
        "spare": spare,
        "exchangeable_tokens": tokens,
        "users": [f"contract-user-{number}" for number in range(1, 5)],
        "institutions": INSTITUTIONS,
        "redirect_uri": REDIRECT_URI,
        "credentials": credentials,
    }


def imported_link():
    account = {"account_id": "one", "type": "depository.checking", "name": "Everyday", "mask": "1234"}
    balances = {"currency": "USD", "current": 100.0}
    return {
        "customer_user": {"id": "contract-user-2"},
        "institution_id": "credentials_bank",
        "accounts": [{**account, "balances": balances}],
        "transactions": [],
    }


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--url", required=True)
    arguments.add_argument("--client-id", required=True)
    arguments.add_argument("--client-secret", default=os.environ.get("PASSBOOK_CLIENT_SECRET"))
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--examples", type=int, default=100, help="generated cases for each operation and phase")
    options = arguments.parse_args()
    credentials = {"client_id": options.client_id, "client_secret": options.client_secret}
    client = Client(options.url, credentials)
    world = make_world(client, credentials)
    directory = tempfile.TemporaryDirectory(prefix="passbook-contract-")
    atexit.register(directory.cleanup)
    counted = pathlib.Path(directory.name) / "counted.json"
    environment = {
        **os.environ,
        "PYTHONPATH": str(HERE),
        "SCHEMATHESIS_HOOKS": "contract_hooks",
        "PASSBOOK_CONTRACT_WORLD": json.dumps(world),
        "PASSBOOK_CONTRACT_COUNTED": str(counted),
    }
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(CONTRACT), "--url", options.url]
    command += ["--header", f"Authorization: Bearer {client.token}", "--checks", ",".join(CHECKS)]
    command += ["--seed", str(options.seed), "--max-examples", str(options.examples), "--workers", "1"]
    command += ["--phases", "examples,coverage,fuzzing,stateful", "--continue-on-failure", "--no-color"]
    command += ["--suppress-health-check", "all", "--warnings", "off"]
    run = subprocess.run(command, cwd=directory.name, env=environment, stdout=sys.stderr)
    by_answer = json.loads(counted.read_text()) if counted.exists() else {}
    print(json.dumps({"requests": sum(by_answer.values()), "passed": run.returncode == 0, "answers": by_answer}))
    raise SystemExit(run.returncode)


if __name__ == "__main__":
    main()
