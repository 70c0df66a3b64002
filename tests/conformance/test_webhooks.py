"""Webhooks as a receiver in another language sees them: verified by PyJWT, and forwarded by `moneykit listen`."""

import base64
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import random
import subprocess
import threading
import time
import unittest

import jwt
import moneykit

import harness
from harness import Server, wait_for

# How many events are verified; CI takes the default.
EVENTS = int(os.environ.get("PASSBOOK_WEBHOOKS", "400"))
# How far the clock of a receiver may be off, as the published example allows.
LEEWAY_SECONDS = 300
# Pauses before attempts 2 to 10, in seconds, the longest that they may be.
PAUSES = [pause * 6 // 5 + 1 for pause in (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)]


class Receiver:
    """Takes webhooks on this machine, answers as it is told, and keeps what came."""

    def __init__(self):
        self.requests, self.statuses, self.came = [], [], threading.Condition()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver.came:
                    receiver.requests.append((dict(self.headers.items()), body))
                    status = receiver.statuses.pop(0) if receiver.statuses else 204
                    receiver.came.notify_all()
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        class Listener(http.server.ThreadingHTTPServer):
            request_queue_size = 128

        self.server = Listener(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/webhooks"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait_for(self, count):
        """The first `count` requests."""
        with self.came:
            enough = self.came.wait_for(lambda: len(self.requests) >= count, timeout=60 + count / 20)
            if not enough:
                raise AssertionError(f"{len(self.requests)} of {count} webhooks came")
            return self.requests[:count]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


VECTORS = pathlib.Path(__file__).parents[2] / "crates/moneykit/tests/vectors/webhooks.json"


class Verifier:
    """What an app's developer would write, following docs/webhooks.md."""

    def __init__(self, keys):
        self.keys = {key["kid"]: jwt.PyJWK(key) for key in keys}

    @classmethod
    def of(cls, server):
        return cls(server.call("GET", "/.well-known/jwks.json").json()["keys"])

    def verify(self, signature, body, now=None):
        kid = jwt.get_unverified_header(signature)["kid"]
        claims = jwt.decode(
            signature,
            self.keys[kid],
            algorithms=["ES256"],
            options={"require": ["iat", "iss"], "verify_iat": False},
        )
        if abs((time.time() if now is None else now) - claims["iat"]) > LEEWAY_SECONDS:
            raise jwt.InvalidTokenError("old")
        if not hmac.compare_digest(claims["request_body_sha256"], hashlib.sha256(body).hexdigest()):
            raise jwt.InvalidTokenError("another body")
        return claims

    def accepts(self, signature, body, now=None):
        try:
            self.verify(signature, body, now)
            return True
        except (jwt.InvalidTokenError, KeyError, ValueError):
            return False


def flipped(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def flipped_signature(signature, random_):
    """One bit of the signed bytes: of header, claims or signature."""
    parts = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in signature.split(".")]
    which = random_.randrange(3)
    parts[which] = flipped(parts[which], random_.randrange(len(parts[which]) * 8))
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


class Webhooks(unittest.TestCase):
    def setUp(self):
        self.server = Server("--seed", "11").__enter__()
        self.addCleanup(self.server.__exit__)
        self.sdk = self.server.sdk()
        self.receiver = Receiver()
        self.addCleanup(self.receiver.close)
        self.link_id = self.server.access["link_id"]
        self.sdk.links.update_link(self.link_id, moneykit.UpdateLinkRequest(webhook=self.receiver.url))

    def trigger(self, key):
        """Has the official SDK ask for a test webhook; gives the delivery token."""
        request = moneykit.WebhookTestLinkRequest(webhook_event="link.state_changed", webhook_idempotency_key=key)
        return self.sdk.webhooks.trigger_test_link_webhook_event(self.link_id, request).delivery_token

    def simulate(self):
        path = f"/sandbox/links/{self.link_id}/events"
        answer = self.server.call("POST", path, self.sdk.token, {"webhook_event": "transactions.updates_available"})
        self.assertEqual(answer.status, 201, answer)
        return answer.json()["delivery_token"]

    def test_the_test_call_of_the_official_sdk_arrives(self):
        token = self.trigger("my-key")
        [(headers, body)] = self.receiver.wait_for(1)
        event = json.loads(body)
        self.assertEqual(headers["moneykit-delivery-token"], token)
        self.assertEqual((event["webhook_event"], event["webhook_idempotency_key"]), ("link.state_changed", "my-key"))
        claims = Verifier.of(self.server).verify(headers["moneykit-signature"], body)
        self.assertEqual(claims["iss"], self.server.access["api_url"])

    def test_another_verifier_accepts_every_webhook_and_no_flipped_bit(self):
        tokens = [self.simulate() for _ in range(EVENTS)]
        arrived = self.receiver.wait_for(EVENTS)
        self.assertEqual([headers["moneykit-delivery-token"] for headers, _ in arrived], tokens, "in their order")
        verifier, random_ = Verifier.of(self.server), random.Random(7)
        for headers, body in arrived:
            signature = headers["moneykit-signature"]
            # Long runs outlast the leeway of a receiver, which looks at each webhook when it comes.
            issued = jwt.decode(signature, options={"verify_signature": False})["iat"]
            self.assertEqual(headers["moneykit-delivery-attempt"], "1")
            verifier.verify(signature, body, now=issued)
            self.assertFalse(verifier.accepts(signature, flipped(body, random_.randrange(len(body) * 8))))
            self.assertFalse(verifier.accepts(flipped_signature(signature, random_), body))

    def test_the_tenth_attempt_after_three_days_still_verifies(self):
        self.receiver.statuses = [500] * 9
        self.trigger("ten")
        verifier = Verifier.of(self.server)
        for number, pause in enumerate(PAUSES, start=1):
            self.receiver.wait_for(number)
            # The attempt has to be stored before the clock moves, or it is planned from the new time.
            wait_for(f"the end of attempt {number}", lambda: self.attempts() == number)
            moved = self.call("POST", "/sandbox/clock", {"advance_seconds": pause})
            self.assertEqual(moved.status, 200, moved)
        arrived = self.receiver.wait_for(10)
        self.assertEqual([int(headers["moneykit-delivery-attempt"]) for headers, _ in arrived], list(range(1, 11)))
        self.assertEqual({body for _, body in arrived}, {arrived[0][1]})
        for headers, body in arrived:
            verifier.verify(headers["moneykit-signature"], body)

    def call(self, method, path, body=None):
        """With the header pair, which outlives every move of the clock."""
        access = self.server.access
        pair = {"X-Client-Id": access["client_id"], "X-Client-Secret": access["client_secret"]}
        return self.server.call(method, path, body=body, headers=pair)

    def attempts(self):
        events = self.call("GET", f"/passbook/events?limit=1000&link_id={self.link_id}")
        return events.json()["events"][-1]["deliveries"][0]["attempts"]


class Vectors(unittest.TestCase):
    def test_they_are_judged_as_they_say(self):
        vectors = json.loads(VECTORS.read_text())
        verifier = Verifier(vectors["jwks"]["keys"])
        for case in vectors["cases"]:
            with self.subTest(case["name"]):
                accepted = verifier.accepts(case["signature"], case["body"].encode(), case["now"])
                self.assertEqual(accepted, case["accepted"])


class Listening(unittest.TestCase):
    """`moneykit listen` and `moneykit trigger`, with nothing but the data directory of `passbook dev`."""

    def setUp(self):
        self.server = Server("--seed", "12").__enter__()
        self.addCleanup(self.server.__exit__)
        self.receiver = Receiver()
        self.addCleanup(self.receiver.close)

    def command(self, *arguments):
        binary = pathlib.Path(harness.BINARY).with_name("moneykit")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MONEYKIT_")}
        return subprocess.Popen(
            [binary, "--data", self.server.data, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run_command(self, *arguments):
        out, err = self.command(*arguments).communicate(timeout=30)
        self.assertEqual(err, "")
        return out

    def test_events_are_forwarded_signed_by_the_server(self):
        listening = self.command("listen", "--forward-to", self.receiver.url, "--after", "0", "--count", "2")
        first = json.loads(self.receiver.wait_for(1)[0][1])
        self.assertEqual((first["webhook_event"], first["state"]), ("link.state_changed", "connected"))
        out, _ = listening.communicate(timeout=30)
        lines = out.splitlines()
        self.assertEqual(len(lines), 3, out)
        self.assertIn("204 in ", lines[1])
        self.assertIn(self.server.access["link_id"], lines[1])
        verifier = Verifier.of(self.server)
        for headers, body in self.receiver.wait_for(2):
            verifier.verify(headers["moneykit-signature"], body)

    def test_what_is_triggered_is_heard_at_once(self):
        listening = self.command("listen", "--forward-to", self.receiver.url, "--count", "1")
        self.assertIn("listening", listening.stderr.readline())
        # It says so when the stream is open or about to be; what comes earlier is not shown.
        time_out = time.monotonic() + 20
        while not self.receiver.requests and time.monotonic() < time_out:
            self.token = self.run_command("trigger", "transactions.updates_available").strip()
            time.sleep(0.2)
        [(headers, body)] = self.receiver.wait_for(1)
        self.assertEqual(json.loads(body)["webhook_event"], "transactions.updates_available")
        listening.communicate(timeout=30)
        table = self.run_command("events", "--limit", "1000")
        self.assertIn("transactions.updates_available", table)
        self.assertEqual(self.run_command("replay", "--link", self.server.access["link_id"]), "0 deliveries\n")


if __name__ == "__main__":
    unittest.main()
