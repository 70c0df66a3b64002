"""The documents that a running server gives out: they name this server, and a reader of YAML that shares no code with us
understands them."""

import unittest

import yaml

from harness import Server


class Documents(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server.for_class(cls, "--seed", "7")

    def document(self, path):
        answer = self.server.call("GET", path)
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "application/yaml"), path)
        return yaml.safe_load(answer.body)

    def test_each_document_names_the_address_that_the_server_listens_on(self):
        for path in ("/openapi.yaml", "/passbook/openapi.yaml"):
            servers = [server["url"] for server in self.document(path)["servers"]]
            self.assertEqual(servers, [self.server.access["api_url"]], path)

    def test_together_they_describe_every_operation_once(self):
        paths = [set(self.document(path)["paths"]) for path in ("/openapi.yaml", "/passbook/openapi.yaml")]
        self.assertEqual(paths[0] & paths[1], set())
        own = {path for path in paths[1] if path.startswith(("/sandbox/", "/passbook/"))}
        self.assertEqual(own, paths[1])
        self.assertGreaterEqual(len(paths[0] | paths[1]), 34)


if __name__ == "__main__":
    unittest.main()
