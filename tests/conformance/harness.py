"""The server under test and the two ways to talk to it: the official SDK, and bytes.

Nothing here knows what an answer should be; the tests do.
"""

import http.client
import json
import os
import pathlib
import subprocess
import tempfile
import time
import urllib.parse

import moneykit

BINARY = os.environ.get("PASSBOOK_BINARY", "target/ci/passbook")
START_SECONDS_MAX = 30
# A simulated refresh takes milliseconds; this is how long it may take before a test calls it lost.
PATIENCE_SECONDS = 15


class Answer:
    """One answer as bytes."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


class Server:
    """`passbook dev` on a temporary data directory, stopped at the end of the `with` block."""

    def __init__(self, *arguments):
        self.arguments = list(arguments)

    @classmethod
    def for_class(cls, test_class, *arguments):
        """A server for all tests of a class."""
        server = cls(*arguments).__enter__()
        test_class.addClassCleanup(server.__exit__)
        return server

    def __enter__(self):
        self._directory = tempfile.TemporaryDirectory(prefix="passbook-conformance-")
        directory = pathlib.Path(self._directory.name)
        self.data = directory / "data"
        self._log = open(directory / "server.log", "w+b")
        command = [BINARY, "dev", "--port", "0", "--local-webhooks", "--data", str(self.data), *self.arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        self._directory.cleanup()

    def _wait_until_ready(self):
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended with {self._process.returncode}:\n{self.log()}")
            try:
                self.access = json.loads((self.data / "dev.json").read_text())
                self._address = urllib.parse.urlsplit(self.access["api_url"]).netloc
                if self.call("GET", "/readyz").status == 200:
                    return
            except (FileNotFoundError, ConnectionError):
                pass
            time.sleep(0.01)
        raise RuntimeError(f"the server was not ready after {START_SECONDS_MAX} s:\n{self.log()}")

    def pid(self):
        return self._process.pid

    def log(self):
        self._log.flush()
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-4000:]

    def call(self, method, path, token=None, body=None, headers=None):
        """One request without the SDK. A `dict` body is sent as JSON, `bytes` as they are."""
        headers = dict(headers or {})
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection(self._address, timeout=30)
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def sdk(self, token=None):
        """The official SDK, configured as its documentation says; signs in unless a token is given."""
        configuration = moneykit.Configuration(host=self.access["api_url"])
        if token is None:
            with moneykit.ApiClient(configuration) as client:
                token = self.access_token(client).access_token
        configuration = moneykit.Configuration(host=self.access["api_url"], access_token=token)
        return Sdk(moneykit.ApiClient(configuration), token)

    def access_token(self, client):
        return moneykit.AccessTokenApi(client).create_access_token(
            grant_type="client_credentials",
            client_id=self.access["client_id"],
            client_secret=self.access["client_secret"],
        )


class Sdk:
    """The SDK's groups of operations on one client."""

    def __init__(self, client, token):
        self.token = token
        self.access_token = moneykit.AccessTokenApi(client)
        self.accounts = moneykit.AccountsApi(client)
        self.account_numbers = moneykit.AccountNumbersApi(client)
        self.identity = moneykit.IdentityApi(client)
        self.institutions = moneykit.InstitutionsApi(client)
        self.investments = moneykit.InvestmentsApi(client)
        self.users = moneykit.UsersApi(client)
        self.webhooks = moneykit.WebhooksApi(client)
        self.link_session = moneykit.LinkSessionApi(client)
        self.links = moneykit.LinksApi(client)
        self.products = moneykit.ProductsApi(client)
        self.transactions = moneykit.TransactionsApi(client)

    def all_transactions(self, link_id, size=1000):
        """Every transaction, paged as the official example apps page."""
        transactions, page = [], 1
        while True:
            answer = self.transactions.get_transactions(link_id, page=page, size=size)
            transactions.extend(answer.transactions)
            if len(transactions) >= answer.total:
                return transactions
            if not answer.transactions:
                raise AssertionError(f"page {page} is empty before {answer.total} transactions")
            page += 1


def wait_for(what, probe):
    """Polls until `probe` gives something true, and gives that."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE_SECONDS} s: {what}")
        time.sleep(0.02)
