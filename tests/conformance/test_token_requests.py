"""Token requests as official clients of other languages send them."""

import base64
import unittest
import urllib.parse

from harness import Server

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class TokenRequests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server.for_class(cls, "--seed", "7")

    def token(self, fields, headers=None):
        body = urllib.parse.urlencode(fields).encode()
        return self.server.call("POST", "/auth/token", body=body, headers={**FORM, **(headers or {})})

    def fields(self, **changes):
        access = self.server.access
        credentials = {"client_id": access["client_id"], "client_secret": access["client_secret"]}
        return {"grant_type": "client_credentials", **credentials, **changes}

    def basic(self, user, password):
        pair = f"{user}:{password}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}

    def assert_token(self, answer):
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(answer.json()["token_type"], "bearer")
        self.assertEqual(answer.headers["Cache-Control"], "no-store")
        link_id = self.server.access["link_id"]
        self.assertEqual(self.server.call("GET", f"/links/{link_id}", answer.json()["access_token"]).status, 200)

    def assert_refused(self, answer, status):
        self.assertEqual(answer.status, status, answer)
        self.assertEqual(answer.json()["error_code"], "api_error.auth.unauthorized")

    def test_form_fields(self):
        self.assert_token(self.token(self.fields()))

    def test_basic_authorization(self):
        access = self.server.access
        headers = self.basic(access["client_id"], access["client_secret"])
        self.assert_token(self.token({"grant_type": "client_credentials"}, headers))

    def test_the_ruby_client_sends_an_empty_basic_header_beside_the_form(self):
        self.assert_token(self.token(self.fields(), {"Authorization": "Basic Og=="}))

    def test_an_empty_version_header_means_the_default(self):
        self.assert_token(self.token(self.fields(), {"moneykit-version": ""}))

    def test_two_different_pairs_are_refused(self):
        self.assert_refused(self.token(self.fields(), self.basic("somebody", "else")), 400)

    def test_a_wrong_secret_is_refused(self):
        self.assert_refused(self.token(self.fields(client_secret="wrong")), 401)

    def test_an_unsupported_grant_is_refused(self):
        self.assert_refused(self.token(self.fields(grant_type="refresh_token")), 400)


if __name__ == "__main__":
    unittest.main()
