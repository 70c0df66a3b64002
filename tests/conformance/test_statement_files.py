"""Statement files written by an independent OFX library, imported, and read back with the official SDK."""

import decimal
import json
import pathlib
import tempfile
import unittest

import build_ofx
from moneykit.exceptions import ApiException

from harness import Server

FILES = ("ofxtools_102.ofx", "ofxtools_203.ofx")


class StatementFiles(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server.for_class(cls, "--seed", "7")
        directory = tempfile.TemporaryDirectory(prefix="passbook-ofx-")
        cls.addClassCleanup(directory.cleanup)
        cls.folder = pathlib.Path(directory.name)
        build_ofx.build(cls.folder)
        cls.expected = json.loads((cls.folder / "expected.json").read_text())

    def setUp(self):
        self.sdk = self.server.sdk()

    def bring_in(self, name, customer):
        body = (self.folder / name).read_bytes()
        path = f"/passbook/links/import-file?customer_user_id={customer}"
        return self.server.call("POST", path, self.sdk.token, body, {"Content-Type": "application/x-ofx"})

    def snapshot(self, link_id):
        """Everything the API says about a link's data."""
        return (
            self.sdk.accounts.get_accounts(link_id).to_dict(),
            self.sdk.account_numbers.get_account_numbers(link_id).to_dict(),
            [transaction.to_dict() for transaction in self.sdk.all_transactions(link_id)],
        )

    def test_accounts_numbers_and_transactions_are_those_of_the_file(self):
        for name in FILES:
            with self.subTest(name):
                answer = self.bring_in(name, f"file-{name[9:12]}")
                self.assertEqual(answer.status, 201, answer)
                self.assertEqual(answer.json()["link"]["state"], "connected")
                self.assertEqual((answer.json()["created"], answer.json()["unchanged"]), (6, 0))
                self.compare(answer.json()["link_id"])

    def compare(self, link_id):
        accounts = {account.account_mask: account for account in self.sdk.accounts.get_accounts(link_id).accounts}
        numbers = self.sdk.account_numbers.get_account_numbers(link_id).accounts
        numbers = {account.account_mask: account.numbers for account in numbers}
        transactions = self.sdk.all_transactions(link_id)
        self.assertEqual(len(accounts), len(self.expected["accounts"]))
        for expected in self.expected["accounts"]:
            account = accounts[expected["mask"]]
            self.assertEqual(account.account_type, expected["account_type"])
            self.assertEqual(self.money(account.balances.current), self.money(expected["current"]))
            self.assertEqual(self.money(account.balances.available), self.money(expected["available"]))
            if expected["ach"] is None:
                self.assertNotIn(expected["mask"], numbers)
            else:
                ach = numbers[expected["mask"]].ach
                self.assertEqual(len(ach), 1)
                self.assertEqual(ach[0].account_number, expected["ach"]["account_number"])
                self.assertEqual(ach[0].routing_number, expected["ach"]["routing_number"])
            own = [item for item in transactions if item.account_id == account.account_id]
            self.assertEqual(len(own), expected["transactions"])
            total = sum(self.money(item.amount) * (1 if item.type == "credit" else -1) for item in own)
            self.assertEqual(total, self.money(expected["sum"]))

    def money(self, value):
        return None if value is None else decimal.Decimal(str(value))

    def test_the_same_file_again_changes_nothing(self):
        link_id = self.bring_in(FILES[0], "file-twice").json()["link_id"]
        before = self.snapshot(link_id)
        again = self.bring_in(FILES[0], "file-twice")
        self.assertEqual(again.status, 200, again)
        self.assertEqual((again.json()["link_id"], again.json()["created"]), (link_id, 0))
        self.assertEqual(again.json()["unchanged"], len(before[2]))
        self.assertEqual(self.snapshot(link_id), before)

    def test_the_same_statements_in_the_other_format_are_the_same_transactions(self):
        link_id = self.bring_in(FILES[0], "file-both").json()["link_id"]
        before = [transaction.transaction_id for transaction in self.sdk.all_transactions(link_id)]
        again = self.bring_in(FILES[1], "file-both")
        self.assertEqual((again.status, again.json()["link_id"], again.json()["created"]), (200, link_id, 0))
        after = [transaction.transaction_id for transaction in self.sdk.all_transactions(link_id)]
        self.assertEqual(after, before)

    def test_a_file_that_is_no_statement_is_refused_and_makes_no_link(self):
        before = {item.link_id for item in self.sdk.links.get_links().links}
        path = "/passbook/links/import-file?customer_user_id=file-none"
        answer = self.server.call("POST", path, self.sdk.token, b"not a statement")
        self.assertEqual(answer.status, 422, answer)
        self.assertEqual({item.link_id for item in self.sdk.links.get_links().links}, before)

    def test_a_deleted_link_gives_no_numbers(self):
        link_id = self.bring_in(FILES[0], "file-deleted").json()["link_id"]
        self.sdk.links.delete_link(link_id)
        with self.assertRaises(ApiException) as caught:
            self.sdk.account_numbers.get_account_numbers(link_id)
        self.assertEqual(caught.exception.status, 410)


if __name__ == "__main__":
    unittest.main()
