"""`passbook links export`, and what it writes read back: by this server, by ofxtools, and by a reader of CSV."""

import csv
import io
import json
import os
import pathlib
import stat
import subprocess
import tempfile
import unittest
from decimal import Decimal

from ofxtools.Parser import OFXTree

from harness import BINARY, Server


class Export(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server.for_class(cls, "--seed", "11", "--frozen-at", "2026-01-15T09:00:00Z")
        cls.sdk = cls.server.sdk()
        cls.link_id = cls.server.access["link_id"]
        cls.directory = tempfile.TemporaryDirectory(prefix="passbook-export-")
        cls.addClassCleanup(cls.directory.cleanup)

    def passbook(self, *arguments, succeeds=True):
        command = [BINARY, "links", *arguments]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "PATH": ""})
        self.assertEqual(run.returncode == 0, succeeds, run.stderr)
        return run

    def export(self, form, *more, link_id=None):
        arguments = ["export", "--link", link_id or self.link_id, "--format", form, "--data", str(self.server.data)]
        return self.passbook(*arguments, *more).stdout

    def imported(self, path, user, *more):
        printed = self.passbook("import-file", "--user", user, "--data", str(self.server.data), *more, str(path)).stdout
        return printed.split("link ")[1].split(",")[0], printed

    def outline(self, link_id):
        names = {account.account_id: account.name for account in self.sdk.accounts.get_accounts(link_id).accounts}
        items = self.sdk.all_transactions(link_id)
        fields = [(names[item.account_id], str(item.date_), item.type.value, item.amount, item.description) for item in items]
        return sorted(map(str, fields))

    def numbers(self, link_id):
        answer = self.sdk.account_numbers.get_account_numbers(link_id)
        return sorted((one.name, ach.account_number, ach.routing_number) for one in answer.accounts for ach in one.numbers.ach)

    def test_json_comes_back_whole(self):
        path = pathlib.Path(self.directory.name) / "whole.json"
        self.export("json", "--numbers", "--output", str(path))
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, "it holds account numbers")
        link_id, printed = self.imported(path, "export-user-1")
        self.assertEqual(self.outline(link_id), self.outline(self.link_id))
        self.assertEqual(self.numbers(link_id), self.numbers(self.link_id))
        self.assertTrue(self.numbers(link_id))
        balances = lambda link: {one.name: one.balances.current for one in self.sdk.accounts.get_accounts(link).accounts}
        self.assertEqual(balances(link_id), balances(self.link_id))
        again, printed = self.imported(path, "export-user-1")
        self.assertEqual(again, link_id)
        self.assertIn(" 0 new, 0 changed, 0 removed", printed)

    def test_the_same_data_gives_the_same_bytes_and_no_numbers_unless_asked(self):
        for form in ["json", "csv", "ofx"]:
            first = self.export(form)
            self.assertEqual(first, self.export(form))
            for _, account_number, _ in self.numbers(self.link_id):
                self.assertNotIn(account_number, first, form)

    def test_dates_narrow_it(self):
        some = json.loads(self.export("json", "--from", "2025-12-01", "--to", "2025-12-31"))
        dates = [item["date"] for account in some["accounts"] for item in account["transactions"]]
        self.assertTrue(dates and all("2025-12-01" <= date <= "2025-12-31" for date in dates))

    def test_csv_is_safe_in_a_spreadsheet_and_comes_back(self):
        account = self.sdk.accounts.get_accounts(self.link_id).accounts[0].account_id
        link_id = self.server.call(
            "POST", "/sandbox/links", token=self.sdk.token, body={"customer_user": {"id": "export-user-2"}}
        ).json()["link_id"]
        account = self.sdk.accounts.get_accounts(link_id).accounts[0].account_id
        formula = '=HYPERLINK("http://127.0.0.1/","pay")'
        edit = {"edit": "add_transaction", "account_id": account, "amount": "5.00", "type": "debit", "description": formula}
        answer = self.server.call("POST", f"/sandbox/links/{link_id}/edits", token=self.sdk.token, body={"edits": [edit]})
        self.assertEqual(answer.status, 200, answer)
        self.refresh(link_id)
        written = self.export("csv", link_id=link_id)
        rows = list(csv.DictReader(io.StringIO(written, newline="")))
        self.assertEqual(len(rows), len(self.sdk.all_transactions(link_id)))
        for row in rows:
            Decimal(row["amount"])
            for column, cell in row.items():
                if column != "amount":
                    self.assertFalse(cell.startswith(("=", "+", "-", "@", "\t", "\r")), cell)
        self.assertIn("'" + formula, [row["description"] for row in rows])
        path = pathlib.Path(self.directory.name) / "rows.csv"
        path.write_text(written, newline="")
        preview = self.passbook("import-file", "--user", "nobody-at-all", "--profile", "passbook", "--preview", str(path))
        self.assertIn("transactions", preview.stdout)
        other, _ = self.imported(path, "export-user-3", "--profile", "passbook")
        self.assertEqual(self.outline(other), self.outline(link_id))
        self.assertIn(formula, [item.description for item in self.sdk.all_transactions(other)])
        _, printed = self.imported(path, "export-user-3", "--profile", "passbook")
        self.assertIn(" 0 new, 0 changed, 0 removed", printed)

    def refresh(self, link_id):
        self.server.call("POST", "/sandbox/clock", token=self.sdk.token, body={"advance_seconds": 3600})
        # The hour ended every token.
        type(self).sdk = self.server.sdk()
        answer = self.server.call(
            "POST", f"/links/{link_id}/products", token=self.sdk.token, body={"products": ["transactions"]}
        )
        self.assertEqual(answer.status, 202, answer)
        self.server.call("POST", "/sandbox/clock", token=self.sdk.token, body={"advance_seconds": 1})

    def test_ofx_is_read_by_another_program(self):
        parser = OFXTree()
        parser.parse(io.BytesIO(self.export("ofx", "--numbers").encode()))
        statements = parser.convert().statements
        accounts = {account.name: account for account in self.sdk.accounts.get_accounts(self.link_id).accounts}
        self.assertEqual(len(statements), len(accounts))
        posted = [item for item in self.sdk.all_transactions(self.link_id) if not item.pending]
        read = sorted(transaction.trnamt for statement in statements for transaction in statement.transactions)
        expected = sorted(Decimal(item.amount) * (1 if item.type.value == "credit" else -1) for item in posted)
        self.assertEqual(read, expected)
        numbers = {account_number for _, account_number, _ in self.numbers(self.link_id)}
        self.assertTrue(numbers <= {statement.account.acctid for statement in statements})
        path = pathlib.Path(self.directory.name) / "statements.ofx"
        path.write_text(self.export("ofx", "--numbers"))
        link_id, _ = self.imported(path, "export-user-4")
        self.assertEqual(len(self.sdk.all_transactions(link_id)), len(posted))
        self.assertEqual([pair[1:] for pair in self.numbers(link_id)], [pair[1:] for pair in self.numbers(self.link_id)])

    def test_what_is_wrong_is_said_and_writes_nothing(self):
        path = pathlib.Path(self.directory.name) / "never.json"
        run = self.passbook(
            "export", "--link", "mk_zzzzzzzzzzzzzzzzzzzzzz", "--output", str(path), "--data", str(self.server.data),
            succeeds=False,
        )
        self.assertIn("Link not found.", run.stderr)
        self.assertEqual(list(path.parent.glob("never*")), [])
        path.write_text('{"format": "passbook-export"')
        run = self.passbook("import-file", "--user", "export-user-5", "--data", str(self.server.data), str(path), succeeds=False)
        self.assertIn("not a Passbook export", run.stderr)
        path.unlink()


if __name__ == "__main__":
    unittest.main()
