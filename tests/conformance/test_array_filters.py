"""Filters by account, by the official SDK and by bytes, in each form that clients of any language send: the answer shows
the accounts that were asked for and never another one."""

import json
import unittest

from harness import Server

USER = "filters-user"
IGNORED = "Passbook-Ignored-Parameters"


def shown(body):
    """The ids of all accounts of which a body shows anything."""
    if isinstance(body, list):
        return set().union(*map(shown, body))
    if not isinstance(body, dict):
        return set()
    ids = {key for key in body if key.startswith("acc_")}
    if isinstance(body.get("account_id"), str):
        ids.add(body["account_id"])
    return ids.union(*map(shown, body.values()))


def forms(name, one, two):
    return [
        f"{name}={one}&{name}={two}",
        f"{name}[]={one}&{name}[]={two}",
        f"{name}%5B%5D={one}&{name}%5B%5D={two}",
        f"{name}={one},{two}",
        f"{name}={one}%2C{two}",
        f"{name}[]={one}&{name}={two},acc_nobody",
    ]


class ArrayFilters(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server.for_class(cls, "--seed", "7")
        cls.sdk = cls.server.sdk()
        cls.link_id = cls.sandbox_link(username="user_investor")
        cls.sandbox_link(institution_id="instant_bank")

    @classmethod
    def sandbox_link(cls, **more):
        body = {"customer_user": {"id": USER}, **more}
        answer = cls.server.call("POST", "/sandbox/links", cls.sdk.token, body)
        if answer.status != 201:
            raise AssertionError(answer)
        return answer.json()["link_id"]

    def operations(self):
        """Path, name of the filter in the SDK, the SDK's call without its reading, first argument, other arguments."""
        sdk, link = self.sdk, f"/links/{self.link_id}"
        pages = {"size": 1000}
        return [
            (f"{link}/accounts", "account_ids", sdk.accounts.get_accounts_without_preload_content, self.link_id, {}),
            (f"{link}/identity", "account_ids", sdk.identity.get_identities_without_preload_content, self.link_id, {}),
            (
                f"{link}/transactions",
                "account_ids",
                sdk.transactions.get_transactions_without_preload_content,
                self.link_id,
                pages,
            ),
            (
                f"{link}/investments/holdings",
                "account_ids",
                sdk.investments.get_holdings_without_preload_content,
                self.link_id,
                {},
            ),
            (
                f"{link}/investments/transactions",
                "account_ids",
                sdk.investments.get_investment_transactions_without_preload_content,
                self.link_id,
                pages,
            ),
            (f"/users/{USER}/accounts", "account_ids", sdk.users.get_user_accounts_without_preload_content, USER, {}),
            (
                f"/users/{USER}/transactions",
                "account_id",
                sdk.users.get_user_transactions_without_preload_content,
                USER,
                pages,
            ),
        ]

    def read(self, path, pages, query=""):
        size = "".join(f"&{name}={value}" for name, value in pages.items())
        answer = self.server.call("GET", f"{path}?{query}{size}", self.sdk.token)
        self.assertEqual(answer.status, 200, f"{path}?{query}: {answer}")
        self.assertIsNone(answer.headers[IGNORED], f"{path}?{query}")
        return shown(answer.json())

    def test_the_sdk_and_every_raw_form_show_what_was_asked_for(self):
        for path, name, call, subject, pages in self.operations():
            everything = sorted(self.read(path, pages))
            self.assertGreaterEqual(len(everything), 2, path)
            for wanted in (everything[:1], everything[-2:], ["acc_nobody"]):
                response = call(subject, **{name: wanted}, **pages)
                self.assertEqual(response.status, 200, path)
                by_sdk = json.loads(response.read())
                self.assertEqual(shown(by_sdk), set(wanted) & set(everything), f"{path} by the SDK")
            one, two = everything[:2]
            for spelling in ("account_ids", "account_id"):
                for query in forms(spelling, one, two):
                    self.assertEqual(self.read(path, pages, query), {one, two}, f"{path}?{query}")

    def test_an_empty_filter_never_means_everything(self):
        for path, _, _, _, _ in self.operations():
            for query in ("account_ids=", "account_ids", "account_ids%5B%5D", "account_ids[]=", "account_id=,"):
                answer = self.server.call("GET", f"{path}?{query}", self.sdk.token)
                if path.startswith("/users/"):
                    # The contract forbids an empty id there.
                    self.assertEqual(answer.status, 422, f"{path}?{query}")
                else:
                    self.assertEqual(answer.status, 200, f"{path}?{query}")
                    self.assertEqual(shown(answer.json()), set(), f"{path}?{query}")

    def test_a_filter_in_another_spelling_is_named_or_refused(self):
        for path, _, _, _, _ in self.operations():
            answer = self.server.call("GET", f"{path}?accountIds=acc_1", self.sdk.token)
            self.assertEqual((answer.status, answer.headers[IGNORED]), (200, "accountIds"), path)
            answer = self.server.call("GET", f"{path}?account_ids[x]=acc_1", self.sdk.token)
            self.assertEqual(answer.status, 422, path)


if __name__ == "__main__":
    unittest.main()
