"""The life of a link, driven by the unmodified official SDK: what an app written for the hosted service does."""

import time
import unittest

import moneykit
import pydantic
from moneykit.exceptions import ApiException

from harness import Server, wait_for

REDIRECT_URI = "http://localhost:3000/callback"
PRODUCTS = ("account_numbers", "identity", "transactions")
CLOCK_STEP_SECONDS = 90_000


class Journey(unittest.TestCase):
    """One server for the class; every test makes its own link and user."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server.for_class(cls, "--seed", "7")

    def setUp(self):
        # The clock tests let tokens expire, so each test signs in for itself.
        self.sdk = self.server.sdk()

    def connect(self, more_products=(), **completion):
        """A new link through a session, completed without a browser; gives the exchange's answer."""
        customer = self.customer = f"journey-{self.id().rsplit('.', 1)[-1]}-{time.monotonic_ns()}"
        settings = moneykit.ProductSettings(required=True, prefetch=True)
        products = moneykit.ProductsSettings(
            account_numbers=settings,
            identity=settings,
            transactions=moneykit.TransactionsProductSettings(required=True, prefetch=True),
            **{product: settings for product in more_products},
        )
        session = self.sdk.link_session.create_link_session(
            moneykit.CreateLinkSessionRequest(
                customer_user=moneykit.CustomerUser(id=customer),
                redirect_uri=REDIRECT_URI,
                link_tags=["journey"],
                settings=moneykit.LinkSessionSettingOverrides(products=products),
            )
        )
        completed = self.server.call(
            "POST",
            "/sandbox/link-sessions/complete",
            self.sdk.token,
            {"link_session_token": session.link_session_token, **completion},
        )
        self.assertEqual(completed.status, 201, completed)
        return self.sdk.link_session.exchange_token(
            moneykit.ExchangeTokenRequest(exchangeable_token=completed.json()["exchangeable_token"])
        )

    def connected_link(self, more_products=(), **completion):
        """A new link whose prefetch is done."""
        exchanged = self.connect(more_products, **completion)
        self.assertEqual(exchanged.link.state, "connected")
        self.assertEqual(exchanged.link.link_id, exchanged.link_id)

        def fetched():
            link = self.sdk.links.get_link(exchanged.link_id)
            return all(getattr(link.products, name).refreshed_at for name in (*PRODUCTS, *more_products)) and link

        return wait_for("the prefetch after the exchange", fetched)

    def refused(self, status, code, call, *arguments, **keywords):
        """Asserts that a call raises the documented error."""
        with self.assertRaises(ApiException) as caught:
            call(*arguments, **keywords)
        self.assertEqual(caught.exception.status, status, caught.exception)
        self.assertIn(f'"{code}"', caught.exception.body)
        return caught.exception

    def refreshed_at(self, link_id, product):
        return getattr(self.sdk.links.get_link(link_id).products, product).refreshed_at

    def refresh(self, link_id, *products):
        request = moneykit.RefreshProductsRequest(products=list(products))
        return self.sdk.products.refresh_products_with_http_info(link_id, request)

    def advance_clock(self):
        answer = self.server.call(
            "POST", "/sandbox/clock", self.sdk.token, {"advance_seconds": CLOCK_STEP_SECONDS}
        )
        self.assertEqual(answer.status, 200, answer)
        self.sdk = self.server.sdk()

    def test_token_and_introspection(self):
        configuration = moneykit.Configuration(host=self.server.access["api_url"])
        token = self.server.access_token(moneykit.ApiClient(configuration))
        self.assertEqual((token.token_type, token.expires_in), ("bearer", 3600))
        client = self.sdk.access_token.instrospect_client()
        self.assertEqual(client.client_id, self.server.access["client_id"])
        self.assertIsNone(client.disabled_at)
        self.assertEqual(client.app.app_name, client.app.name)

    def test_session_exchange_and_link(self):
        link = self.connected_link()
        self.assertRegex(link.link_id, r"\Amk_[1-9A-HJ-NP-Za-km-z]{22}\Z")
        self.assertEqual(link.institution_id, "credentials_bank")
        self.assertEqual(link.link_tags, ["journey"])
        self.assertIsNone(link.error_code)
        listed = self.sdk.links.get_links()
        self.assertIn(link.link_id, [item.link_id for item in listed.links])

    def test_transactions_are_followed(self):
        link_id = self.connected_link().link_id
        followed, cursor = {}, None
        while True:
            page = self.sdk.transactions.get_transactions_sync(link_id, cursor=cursor, size=20)
            self.assertEqual((page.transactions.updated, page.transactions.removed), ([], []))
            followed.update((row.transaction_id, row) for row in page.transactions.created)
            cursor = page.cursor.next
            if not page.has_more:
                break
        listed = {row.transaction_id: row for row in self.sdk.all_transactions(link_id)}
        self.assertEqual(followed, listed)
        self.advance_clock()
        self.refresh(link_id, "transactions")
        refreshed = self.refreshed_at(link_id, "transactions")
        wait_for("the refresh", lambda: self.refreshed_at(link_id, "transactions") >= refreshed)
        page = self.sdk.transactions.get_transactions_sync(link_id, cursor=cursor)
        self.assertTrue(page.cursor.next)
        code = "api_error.request.validation_failed"
        self.refused(422, code, self.sdk.transactions.get_transactions_sync, link_id, cursor="garbage")

    def test_an_imported_link(self):
        balances = moneykit.AccountBalances(currency="USD", current=12.5)
        account = moneykit.AccountImportData(
            account_id="ours", name="Everyday", type="checking", mask="1234", balances=balances
        )

        def row(number, amount):
            # The SDK sends this date in two pairs of quotes.
            date = moneykit.ModelDate("2024-01-09")
            return moneykit.TransactionImportData(
                account_id="ours", transaction_id=f"t{number}", amount=amount, date=date
            )

        link = self.sdk.links.import_link(
            moneykit.ImportLinkRequest(
                customer_user=moneykit.CustomerUser(id="journey-import"),
                institution_id="mx.credentials_bank",
                accounts=[account],
                transactions=[row(1, "-7.10"), row(2, "20.00")],
            )
        )
        self.assertEqual((link.state, link.error_code), ("error", "auth_expired"))
        more = moneykit.ImportTransactionsRequest(transactions=[row(2, "21.00"), row(3, "1.00")])
        self.sdk.links.import_transactions(link.link_id, more)
        rows = {row.original_id: row for row in self.sdk.all_transactions(link.link_id)}
        shown = {name: (row.amount, row.type, str(row.date_)) for name, row in rows.items()}
        self.assertEqual(shown["t1"], ("7.10", "debit", "2024-01-09"))
        self.assertEqual((shown["t2"][:2], shown["t3"][:2]), (("21.00", "credit"), ("1.00", "credit")))
        self.assertEqual(self.sdk.accounts.get_accounts(link.link_id).accounts[0].original_id, "ours")

    def test_an_exchangeable_token_works_once(self):
        session = self.sdk.link_session.create_link_session(
            moneykit.CreateLinkSessionRequest(
                customer_user=moneykit.CustomerUser(id="journey-once"), redirect_uri=REDIRECT_URI
            )
        )
        completed = self.server.call(
            "POST",
            "/sandbox/link-sessions/complete",
            self.sdk.token,
            {"link_session_token": session.link_session_token},
        )
        request = moneykit.ExchangeTokenRequest(exchangeable_token=completed.json()["exchangeable_token"])
        self.sdk.link_session.exchange_token(request)
        code = "link_session_error.invalid_token_exchange"
        self.refused(400, code, self.sdk.link_session.exchange_token, request)

    def test_accounts(self):
        link_id = self.connected_link().link_id
        accounts = self.sdk.accounts.get_accounts(link_id).accounts
        self.assertGreaterEqual(len(accounts), 3)
        single = self.sdk.accounts.get_account(link_id, accounts[0].account_id)
        self.assertEqual(single.account.account_id, accounts[0].account_id)
        chosen = self.sdk.accounts.get_accounts(link_id, account_ids=[accounts[1].account_id]).accounts
        self.assertEqual([account.account_id for account in chosen], [accounts[1].account_id])
        code = "link_error.not_found"
        self.refused(404, code, self.sdk.accounts.get_account, link_id, "acc_" + "2" * 22)

    def test_account_numbers(self):
        link_id = self.connected_link().link_id
        answer = self.sdk.account_numbers.get_account_numbers(link_id)
        accounts = {account.account_id: account for account in self.sdk.accounts.get_accounts(link_id).accounts}
        self.assertGreaterEqual(len(answer.accounts), 2)
        for account in answer.accounts:
            numbers = account.numbers
            self.assertEqual(len(numbers.ach), 1)
            self.assertEqual((numbers.eft, numbers.bacs, numbers.international), ([], [], []))
            digits = [int(digit) for digit in numbers.ach[0].routing_number]
            check = sum(weight * digit for weight, digit in zip((3, 7, 1) * 3, digits, strict=True))
            self.assertEqual(check % 10, 0, "ABA check digit")
            self.assertTrue(numbers.ach[0].account_number.endswith(accounts[account.account_id].account_mask))
        self.assertEqual(answer.link.link_id, link_id)

    def test_reading_numbers_never_fetches(self):
        link_id = self.connected_link().link_id
        before = self.sdk.links.get_link(link_id)
        for _ in range(5):
            self.sdk.accounts.get_account_numbers(link_id)
        self.assertEqual(self.sdk.links.get_link(link_id), before)

    def test_numbers_of_other_countries(self):
        for institution, kind in (("credentials_bank_ca", "eft"), ("credentials_bank_gb", "bacs")):
            with self.subTest(institution):
                link_id = self.connected_link(institution_id=institution).link_id
                accounts = self.sdk.account_numbers.get_account_numbers(link_id).accounts
                self.assertTrue(accounts)
                self.assertTrue(all(len(getattr(account.numbers, kind)) == 1 for account in accounts))

    def test_transactions_page_by_page(self):
        link_id = self.connected_link().link_id
        everything = self.sdk.all_transactions(link_id)
        self.assertTrue(everything)
        paged = self.sdk.all_transactions(link_id, size=4)
        self.assertEqual([item.transaction_id for item in paged], [item.transaction_id for item in everything])
        dates = [item.date_ for item in everything]
        self.assertEqual(dates, sorted(dates, reverse=True), "newest first")
        self.assertTrue(all(not item.amount.startswith("-") for item in everything))

    def test_enrichment_and_its_correction(self):
        link_id = self.connected_link().link_id
        everything = self.sdk.all_transactions(link_id)
        named = [item for item in everything if item.enrichment and item.enrichment.merchant]
        self.assertTrue(named)
        wanted = moneykit.BudCategory(category="charity", subcategory="other_charity")
        answer = self.sdk.transactions.correct_enrichment(link_id, named[0].transaction_id, wanted)
        self.assertEqual(answer.transactions[0].transaction_id, named[0].transaction_id)
        self.assertIsNone(answer.cursor.next)
        for item in answer.transactions:
            self.assertEqual(item.enrichment.category.value, "charity")
            self.assertEqual(item.enrichment.subcategory.value, "other_charity")
        corrected = {item.transaction_id for item in answer.transactions}
        for item in self.sdk.all_transactions(link_id):
            is_corrected = bool(item.enrichment and item.enrichment.category.value == "charity")
            self.assertEqual(is_corrected, item.transaction_id in corrected)

    def test_investments(self):
        link_id = self.connected_link(["investments"], username="user_investor").link_id
        held = self.sdk.investments.get_holdings(link_id)
        self.assertTrue(held.holdings)
        securities = {security.security_id for security in held.securities}
        self.assertEqual({holding.security_id for holding in held.holdings}, securities)
        moved, page = [], 1
        while True:
            answer = self.sdk.investments.get_investment_transactions(link_id, page=page, size=50)
            moved.extend(answer.investment_transactions)
            if len(moved) >= answer.total:
                break
            page += 1
        self.assertEqual(len({item.investment_transaction_id for item in moved}), answer.total)
        bought = next(item for item in moved if item.type == "buy")
        self.assertGreater(float(bought.amount), 0, "what was paid left the account")
        self.assertGreater(float(bought.quantity), 0)

    def test_many_accounts_and_transactions(self):
        link_id = self.connected_link(username="user_many").link_id
        everything = self.sdk.all_transactions(link_id, size=200)
        self.assertGreater(len(everything), 1000)
        self.assertEqual(len({item.transaction_id for item in everything}), len(everything))

    def test_refresh_limits_follow_the_sandbox_clock(self):
        link_id = self.connected_link().link_id
        before = self.refreshed_at(link_id, "account_numbers")
        accepted = self.refresh(link_id, "accounts", "account_numbers", "transactions")
        self.assertEqual(accepted.status_code, 202)
        wait_for("a newer refreshed_at", lambda: self.refreshed_at(link_id, "account_numbers") > before)
        code = "api_error.rate_limit_exceeded"
        refused = self.refused(429, code, self.refresh, link_id, "account_numbers")
        self.assertGreater(int(refused.headers["Retry-After"]), 0)
        self.advance_clock()
        self.assertEqual(self.refresh(link_id, "account_numbers").status_code, 202)

    def test_institutions(self):
        banks = self.sdk.institutions.get_institutions(name="credentials").institutions
        self.assertIn("credentials_bank", [bank.institution_id for bank in banks])
        self.assertEqual(self.sdk.institutions.get_institution("credentials_bank").institution_id, "credentials_bank")
        code = "institution_error.not_found"
        self.refused(404, code, self.sdk.institutions.get_institution, "no_such_bank")
        walked, cursor = [], None
        while True:
            page = self.sdk.institutions.get_institutions(cursor=cursor, limit=2)
            walked.extend(bank.institution_id for bank in page.institutions)
            cursor = page.cursors.next
            if cursor is None:
                break
        self.assertEqual(len(set(walked)), len(walked))
        self.assertIn("credentials_bank_gb", walked)

    def test_update_and_reset(self):
        link_id = self.connected_link().link_id
        hook = "https://app.example/hook"
        link = self.sdk.links.update_link(link_id, moneykit.UpdateLinkRequest(webhook=hook, link_tags=["a", "b"]))
        self.assertEqual((link.webhook, link.link_tags), (hook, ["a", "b"]))
        link = self.sdk.links.update_link(link_id, moneykit.UpdateLinkRequest(link_tags=["c"]))
        self.assertEqual((link.webhook, link.link_tags), (hook, ["c"]))
        # This SDK leaves null out of a body, so it cannot remove a webhook.
        raw = self.server.call("PATCH", f"/links/{link_id}", self.sdk.token, {"webhook": None})
        self.assertEqual((raw.status, raw.json()["webhook"]), (200, None), raw)
        link = self.sdk.links.reset_link(link_id)
        self.assertEqual((link.state, link.error_code), ("error", "auth_expired"))
        self.refused(422, "link_error.bad_state", self.sdk.accounts.get_accounts, link_id)

    def test_listings_of_a_user(self):
        """This SDK asks rightly and then cannot read any answer that holds a map of models, whoever gives it."""
        link = self.connected_link()
        users = self.sdk.users
        for call in (users.get_user_links, users.get_user_accounts, users.get_user_transactions):
            with self.assertRaises(pydantic.ValidationError):
                call(self.customer)
        read = lambda rest: self.server.call("GET", f"/users/{self.customer}/{rest}", self.sdk.token).json()
        listed = read("links")["links"]
        self.assertEqual(list(listed), [link.link_id])
        self.assertEqual(moneykit.LinkCommon.from_dict(listed[link.link_id]).state, "connected")
        accounts = read("accounts")["links"][link.link_id]["accounts"]
        self.assertGreaterEqual(len(accounts), 3)
        moneykit.AccountGroup.from_dict(read("accounts")["links"][link.link_id])
        chosen = accounts[0]["account_id"]
        page = read(f"transactions?size=10&account_id={chosen}")
        self.assertEqual(list(page["accounts"]), [chosen])
        details = moneykit.BasicAccountDetails.from_dict(page["accounts"][chosen])
        self.assertEqual(details.link_id, link.link_id)
        for row in page["transactions"]:
            moneykit.TransactionResponse.from_dict(row)
        self.assertEqual(self.server.call("GET", "/users/nobody/links", self.sdk.token).json(), {"links": {}})

    def test_a_test_webhook_is_accepted(self):
        link_id = self.connected_link().link_id
        request = moneykit.WebhookTestLinkRequest(
            webhook_event="transactions.updates_available", webhook_idempotency_key="journey"
        )
        self.refused(400, "link_error.bad_config", self.sdk.webhooks.trigger_test_link_webhook_event, link_id, request)
        self.sdk.links.update_link(link_id, moneykit.UpdateLinkRequest(webhook="https://app.example/hook"))
        accepted = self.sdk.webhooks.trigger_test_link_webhook_event(link_id, request)
        self.assertGreater(len(accepted.delivery_token), 20)

    def test_dates_are_sent_plainly_and_in_quotes(self):
        link_id = self.connected_link().link_id
        rows = self.sdk.transactions.get_transactions(link_id, size=1).transactions
        day = rows[0].to_dict()["date"]
        plain = self.sdk.transactions.get_transactions(link_id, start_date=day, end_date=day).total
        self.assertGreater(plain, 0)
        path = f"/links/{link_id}/transactions?start_date=%22{day}%22&end_date=%22{day}%22"
        quoted = self.server.call("GET", path, self.sdk.token)
        self.assertEqual((quoted.status, quoted.json()["total"]), (200, plain), quoted)

    def test_delete(self):
        link_id = self.connected_link().link_id
        deleted = self.sdk.links.delete_link_with_http_info(link_id)
        self.assertEqual((deleted.status_code, deleted.raw_data), (204, b""))
        code = "link_error.deleted"
        self.refused(410, code, self.sdk.account_numbers.get_account_numbers, link_id)
        self.refused(410, code, self.sdk.links.delete_link, link_id)
        self.assertEqual(self.sdk.links.get_link(link_id).state, "deleted")
        self.assertNotIn(link_id, [item.link_id for item in self.sdk.links.get_links().links])

    def test_an_unknown_link_is_not_found(self):
        code = "link_error.not_found"
        for unknown in ("mk_" + "2" * 22, "mk_", "0"):
            with self.subTest(unknown):
                self.refused(404, code, self.sdk.links.get_link, unknown)
                self.refused(404, code, self.sdk.account_numbers.get_account_numbers, unknown)

    def test_a_token_of_nobody_is_refused(self):
        stranger = self.server.sdk(token="0" * 64)
        link_id = self.server.access["link_id"]
        code = "api_error.auth.unauthorized"
        self.refused(401, code, stranger.links.get_link, link_id)
        self.refused(401, code, stranger.account_numbers.get_account_numbers, link_id)
        self.refused(401, code, stranger.access_token.instrospect_client)

    def test_an_expired_token_says_so(self):
        expired = self.sdk
        self.advance_clock()
        code = "api_error.auth.expired_access_token"
        self.refused(401, code, expired.links.get_link, self.server.access["link_id"])


if __name__ == "__main__":
    unittest.main()
