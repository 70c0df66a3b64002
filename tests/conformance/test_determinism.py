"""Two servers with one seed and one frozen clock, driven alike, answer every read with the same bytes."""

import json
import unittest
import urllib.parse

from harness import Server, wait_for

ARGUMENTS = ("--seed", "11", "--frozen-at", "2026-01-15T09:00:00Z")

LINKS = (
    {"customer_user": {"id": "twin-us"}, "institution_id": "credentials_bank"},
    {"customer_user": {"id": "twin-ca"}, "institution_id": "credentials_bank_ca"},
    {"customer_user": {"id": "twin-gb"}, "institution_id": "credentials_bank_gb"},
    {"customer_user": {"id": "twin-many"}, "username": "user_many"},
)

STATEMENT = b"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<?OFX OFXHEADER="200" VERSION="211" SECURITY="NONE" OLDFILEUID="NONE" NEWFILEUID="NONE"?>
<OFX><SIGNONMSGSRSV1><SONRS><STATUS><CODE>0</CODE><SEVERITY>INFO</SEVERITY></STATUS>
<DTSERVER>20260110120000</DTSERVER><LANGUAGE>ENG</LANGUAGE></SONRS></SIGNONMSGSRSV1>
<BANKMSGSRSV1><STMTTRNRS><TRNUID>1</TRNUID><STATUS><CODE>0</CODE><SEVERITY>INFO</SEVERITY></STATUS>
<STMTRS><CURDEF>USD</CURDEF><BANKACCTFROM><BANKID>011000015</BANKID><ACCTID>000123456789</ACCTID>
<ACCTTYPE>CHECKING</ACCTTYPE></BANKACCTFROM><BANKTRANLIST><DTSTART>20260101</DTSTART><DTEND>20260110</DTEND>
<STMTTRN><TRNTYPE>DEBIT</TRNTYPE><DTPOSTED>20260105</DTPOSTED><TRNAMT>-12.34</TRNAMT><FITID>1</FITID>
<NAME>COFFEE</NAME></STMTTRN>
<STMTTRN><TRNTYPE>CREDIT</TRNTYPE><DTPOSTED>20260106</DTPOSTED><TRNAMT>1000.00</TRNAMT><FITID>2</FITID>
<NAME>WAGES</NAME></STMTTRN></BANKTRANLIST>
<LEDGERBAL><BALAMT>987.66</BALAMT><DTASOF>20260110120000</DTASOF></LEDGERBAL>
</STMTRS></STMTTRNRS></BANKMSGSRSV1></OFX>
"""


def token_of(server):
    fields = {name: server.access[name] for name in ("client_id", "client_secret")}
    body = urllib.parse.urlencode({"grant_type": "client_credentials", **fields}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return server.call("POST", "/auth/token", body=body, headers=headers).json()["access_token"]


def act(server, token):
    """The script: links in three countries, refreshes, a file. Gives the link ids."""
    links = [server.access["link_id"]]
    for request in LINKS:
        made = server.call("POST", "/sandbox/links", token, request)
        assert made.status == 201, made
        links.append(made.json()["link_id"])
    for link_id in links:
        path = f"/links/{link_id}"

        def refreshed_at():
            products = server.call("GET", path, token).json()["products"]
            return products["accounts"]["refreshed_at"], products["transactions"]["refreshed_at"]

        before = refreshed_at()
        accepted = server.call("POST", f"{path}/products", token, {"products": ["accounts", "transactions"]})
        assert accepted.status == 202, accepted
        wait_for("both refreshes", lambda: all(new > old for new, old in zip(refreshed_at(), before)))
    imported = server.call("POST", "/passbook/links/import-file?customer_user_id=twin-file", token, STATEMENT)
    assert imported.status == 201, imported
    links.append(imported.json()["link_id"])
    return links


class Crawl:
    """Every read of the API, all pages, as bytes by path."""

    def __init__(self, server, token):
        self.server = server
        self.token = token
        self.answers = {}

    def read(self, path):
        answer = self.server.call("GET", path, self.token)
        content_type = answer.headers["Content-Type"]
        # Links to our own pages hold the port, the one thing the two servers cannot share.
        body = answer.body
        for name in ("api_url", "connect_url"):
            port = self.server.access[name].rsplit(":", 1)[1].encode()
            body = body.replace(b":" + port + b"/", b":PORT/")
        self.answers[path] = (answer.status, content_type, body)
        try:
            return json.loads(answer.body)
        except ValueError:
            return {}

    def pages(self, path, separator="?"):
        page, seen = 1, 0
        while True:
            answer = self.read(f"{path}{separator}page={page}&size=100")
            seen += len(answer.get("transactions", []))
            if not answer.get("transactions") or seen >= answer["total"]:
                return
            page += 1

    def walk(self, path, key, following):
        cursor = ""
        while True:
            answer = self.read(path + (f"&{key}={urllib.parse.quote(cursor)}" if cursor else ""))
            cursor = following(answer)
            if not cursor:
                return

    def everything(self, links, customers):
        self.read("/auth/introspect")
        self.walk("/institutions?limit=2", "cursor", lambda answer: answer["cursors"]["next"])
        self.walk("/links?limit=500", "cursor", lambda answer: answer["next_cursor"])
        self.read("/sandbox/clock")
        for link_id in links:
            self.link(f"/links/{link_id}")
        for customer in customers:
            self.read(f"/users/{customer}/links")
            self.read(f"/users/{customer}/accounts")
            self.pages(f"/users/{customer}/transactions")
        return self.answers

    def link(self, path):
        self.read(path)
        for account in self.read(f"{path}/accounts")["accounts"]:
            self.read(f"{path}/accounts/{account['account_id']}")
        self.read(f"{path}/accounts/numbers")
        self.read(f"{path}/identity")
        self.pages(f"{path}/transactions")
        self.walk(
            f"{path}/transactions/sync?size=100",
            "cursor",
            lambda answer: answer.get("has_more") and answer["cursor"]["next"],
        )
        self.read(f"{path}/investments/holdings")
        self.pages(f"{path}/investments/transactions")


def run():
    with Server(*ARGUMENTS) as server:
        token = token_of(server)
        links = act(server, token)
        customers = [request["customer_user"]["id"] for request in LINKS] + ["twin-file", "nobody"]
        return server.access["client_id"], links, Crawl(server, token).everything(links, customers)


class Determinism(unittest.TestCase):
    maxDiff = None

    def test_same_seed_and_clock_give_the_same_bytes_of_every_read(self):
        first_client, first_links, first = run()
        second_client, second_links, second = run()
        self.assertEqual(first_client, second_client)
        self.assertEqual(first_links, second_links)
        self.assertEqual(first.keys(), second.keys())
        for path, answer in first.items():
            self.assertEqual(answer, second[path], path)
        found = [path for path, (status, _, _) in first.items() if status == 200]
        print(f"{len(first)} reads compared, {len(found)} of them with data", flush=True)
        self.assertGreater(len(found), 80)


if __name__ == "__main__":
    unittest.main()
