#!/usr/bin/env python3
"""driver-s3 against a real S3 server: objects small and large, ranges, lists, keys of all sorts, whose requests they are, who may not."""
import http.server
import json
import os
import sys
import threading
import time
import unittest
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from lab import wait_for  # noqa: E402
from s3lab import ACCESS, BUCKET, SECRET, StoreCase, content, digest  # noqa: E402

MIB = 1 << 20


class Objects(StoreCase):
    def test_configured_by_the_published_variables(self):
        a = self.server.ask("GET", "config")
        self.assertEqual((a["on"], a["bucket"], a["region"], a["prefix"], a["endpoint"]), (True, BUCKET, "us-east-1", "backups", self.store.url))

    def test_small_objects(self):
        for bytes in (0, 1, 4096, 100_000):
            put = self.well(self.server.put(f"small/{bytes}", bytes=bytes, seed=bytes))
            self.assertEqual((put["count"], put["moved"]), (bytes, bytes))
            self.assertEqual(self.server.read(f"small/{bytes}"), content(bytes, bytes))
        self.well(self.server.put("small/body", body="from memory"))
        self.assertEqual(self.server.read("small/body"), b"from memory")

    def test_head_says_what_get_says(self):
        self.well(self.server.put("head", bytes=5000, label="pre-deploy"))
        head = self.well(self.server.head("head"))["header"]
        self.assertEqual((head["content-length"], head["content-type"], head["x-amz-meta-client_name"], head["x-amz-meta-label"]),
                         ("5000", "application/gzip", "shop", "pre-deploy"))
        self.assertTrue(head["etag"] and head["last-modified"])

    def test_ranges(self):
        self.well(self.server.put("ranged", bytes=100_000))
        for first, length in ((0, 1), (4090, 20), (99_999, 1), (50_000, 0), (99_990, 1000)):
            want = content(100_000)[first:first + length if length else None]
            self.assertEqual(self.server.read("ranged", **{"from": first, "length": length}), want, (first, length))
        r, c = self.server.open("ranged", **{"from": 10, "length": 5})
        self.assertEqual((r.status, r.read()), (206, content(5, start=10)))
        c.close()
        self.refused(self.server.read("ranged", **{"from": 100_000, "length": 1}), -1, 416)

    def test_only_this_object(self):
        self.well(self.server.put("replaced", bytes=10))
        etag = self.server.head("replaced")["header"]["etag"]
        self.assertEqual(self.server.read("replaced", etag=etag), content(10))
        self.well(self.server.put("replaced", bytes=11))
        self.refused(self.server.read("replaced", etag=etag), -5, 412)

    def test_large_objects_are_parts(self):
        for bytes in (8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 16 * MIB, 50_000_001):
            put = self.well(self.server.put("large", bytes=bytes, seed=3))
            parts = -(-bytes // (8 * MIB))
            self.assertEqual((put["count"], put["moved"], put["moves"]), (bytes, bytes, parts))
            self.assertEqual(put["header"]["etag"].strip('"').partition("-")[2], str(parts) if parts > 1 else "")
            self.assertEqual(self.server.digest("large"), digest(bytes, 3))
        self.assertEqual(self.store.client.uploads(), [])

    def test_an_expected_length_makes_larger_parts(self):
        """D-56: sizes that 10,000 parts of 16 MiB could not hold."""
        put = self.well(self.server.put("expected", bytes=40 * MIB, expect=100 << 30))
        self.assertEqual(put["moves"], 3)
        self.assertEqual(self.server.digest("expected"), digest(40 * MIB))

    def test_keys_of_all_sorts(self):
        keys = ["with blank", "umlaut/ü-ñ-漢-🐘", "a+b", "a%20b", "a&b=c?d#e", "~x*'()!,;:@$", "..a/b..", "quote\"<xml>&amp;", "dots.../...", "a=b/c=d"]
        for n, key in enumerate(keys):
            self.well(self.server.put(f"keys/{key}", bytes=100, seed=n))
        for n, key in enumerate(keys):
            self.assertEqual(self.server.read(f"keys/{key}"), content(100, n), key)
        self.assertEqual([o["key"] for o in self.server.list(prefix="keys/")["list"]], sorted((f"keys/{k}" for k in keys), key=str.encode))
        for key in keys:
            link = self.well(self.server.ask("GET", "link", key=f"keys/{key}", seconds=60))["text"]
            self.assertEqual(len(urllib.request.urlopen(link).read()), 100, key)
            self.well(self.server.remove(f"keys/{key}"))
        self.assertEqual(self.server.list(prefix="keys/")["list"], [])

    def test_a_path_that_leads_out_is_sent_as_it_is(self):
        """This store refuses such keys; a path without its dots would be another key."""
        for key in ("p/../q", "..", "./x"):
            self.refused(self.server.put(f"{key}", bytes=10), -1, 400)
        self.assertEqual(self.server.head("q")["rc"], -4)

    def test_what_is_not_there(self):
        self.refused(self.server.read("missing"), -4, 404, "NoSuchKey")
        self.refused(self.server.head("missing"), -4, 404)
        self.well(self.server.remove("missing"))
        self.well(self.server.ask("DELETE", "upload", key="missing", id="0" * 32))
        self.refused(self.server.read("key", bucket="no-such-bucket"), -4, 404)
        self.refused(self.server.list(bucket="no-such-bucket"), -4, 404, "NoSuchBucket")

    def test_links_end(self):
        self.well(self.server.put("linked", bytes=10))
        link = self.well(self.server.ask("GET", "link", key="linked", seconds=900))["text"]
        self.assertEqual(urllib.request.urlopen(link).read(), content(10))
        self.assertIn("X-Amz-Expires=900&", link)
        self.assertIn("X-Amz-SignedHeaders=host&", link)
        with self.assertRaises(urllib.error.HTTPError):
            urllib.request.urlopen(link.replace("linked", "other"))
        for seconds in (0, 604801):
            self.refused(self.server.ask("GET", "link", key="linked", seconds=seconds), -1)

    def test_thousands_of_keys(self):
        threads = [threading.Thread(target=self.fill, args=(at, at + 1250)) for at in range(0, 5000, 1250)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        keys, after = [], ""
        while True:
            page = self.well(self.server.list(prefix="many/", after=after))
            keys += [o["key"] for o in page["list"]]
            if not page["count"]:
                break
            self.assertEqual(len(page["list"]), 1000)
            after = keys[-1]
        self.assertEqual(keys, [f"many/{n:05}" for n in range(5000)])
        self.assertEqual(len(self.server.list(prefix="many/", limit=7)["list"]), 7)

    def fill(self, first, end):
        for n in range(first, end):
            self.store.client.well("PUT", f"/{BUCKET}/many/{n:05}", body=b"x")

    def test_what_is_counted(self):
        before = self.server.metric('athena_s3_requests_total{operation="PutObject",outcome="2xx"}')
        sent = self.server.metric('athena_s3_bytes_total{direction="sent"}')
        self.well(self.server.put("counted", bytes=1000))
        self.assertEqual(self.server.metric('athena_s3_requests_total{operation="PutObject",outcome="2xx"}'), before + 1)
        self.assertEqual(self.server.metric('athena_s3_bytes_total{direction="sent"}'), sent + 1000)


class Refusals(StoreCase):
    def test_nothing_is_configured(self):
        server = self.lab.server(None, {"ATHENA_BACKUP_S3_BUCKET": " "})
        for answer in (server.put("a", bytes=1), server.read("a"), server.list(), server.ask("GET", "link", key="a", seconds=1)):
            self.assertEqual((answer["rc"], answer["code"]), (-13, "s3_not_configured"))
            self.assertEqual(answer["message"], "Configure backup.s3_bucket (and related fields) in config.yaml to enable backups.")
        self.assertFalse(server.ask("GET", "config")["on"])

    def test_wrong_keys(self):
        for env, code in (({"ATHENA_BACKUP_S3_SECRET_KEY": "wrong"}, "SignatureDoesNotMatch"), ({"ATHENA_BACKUP_S3_ACCESS_KEY": "UNKNOWN"}, "InvalidAccessKeyId"),
                          ({"ATHENA_BACKUP_S3_ACCESS_KEY": "READER", "ATHENA_BACKUP_S3_SECRET_KEY": "reads"}, "AccessDenied")):
            server = self.lab.server(self.store, env)
            self.refused(server.put("denied", bytes=10), -3, 403, code)
            self.refused(server.put("denied", bytes=20 * MIB), -3, 403, code)
        self.refused(self.lab.server(self.store, {"ATHENA_BACKUP_S3_SECRET_KEY": "wrong"}).read("a"), -3, 403)
        self.assertEqual(self.server.head("denied")["rc"], -4)

    def test_no_keys(self):
        server = self.lab.server(self.store, {"ATHENA_BACKUP_S3_ACCESS_KEY": None, "ATHENA_BACKUP_S3_SECRET_KEY": None})
        self.assertEqual(self.refused(server.read("a"), -3)["message"], "there are no keys for the object store: none are configured")

    def test_nobody_answers(self):
        """D-73: who cannot be reached is named, nothing that could be used is."""
        gone = self.lab.server(self.store, {"ATHENA_BACKUP_S3_ENDPOINT": "http://127.0.0.1:9"})
        for answer in (gone.put("a", bytes=10), gone.read("a"), gone.head("a"), gone.list()):
            self.assertEqual(answer["rc"], -10, answer)
            self.assertIn("127.0.0.1:9", answer["message"])
            self.check_words(answer["message"].replace("http://", "", 1))

    def test_the_configuration_file_is_read(self):
        """D-47: backup.s3_* of the file count, behind the variables, and ${NAME} in them."""
        env = {"ATHENA_BACKUP_S3_BUCKET": None, "ATHENA_BACKUP_S3_ENDPOINT": None, "ATHENA_BACKUP_S3_ACCESS_KEY": None, "ATHENA_BACKUP_S3_SECRET_KEY": None,
               "MY_SECRET": SECRET}
        more = f"backup:\n- s3_bucket: {BUCKET}\n- s3_endpoint: {self.store.url}/\n- s3_access_key: {ACCESS}\n- s3_secret_key: ${{MY_SECRET}}\n- s3_prefix: /dumps/\n"
        server = self.lab.server(None, env, more=more)
        self.assertEqual(server.ask("GET", "config")["prefix"], "dumps")
        self.well(server.put("by-file", bytes=10))
        self.assertEqual(server.read("by-file"), content(10))
        other = self.lab.server(None, {**env, "ATHENA_BACKUP_S3_PREFIX": "first"}, more=more)
        self.assertEqual(other.ask("GET", "config")["prefix"], "first")

    def test_an_endpoint_that_is_none_stops_the_start(self):
        for wrong in ("ftp://host", "http://", "http://us er", "http://a@b"):
            with self.assertRaisesRegex(AssertionError, "of the object store is not like"):
                self.lab.server(self.store, {"ATHENA_BACKUP_S3_ENDPOINT": wrong})


class Lent(http.server.BaseHTTPRequestHandler):
    """What a machine or a container answers for its keys."""
    def log_message(self, *args):
        pass

    def do_GET(self):
        s = self.server
        s.seen.append((self.command, self.path, self.headers.get("x-aws-ec2-metadata-token"), self.headers.get("authorization")))
        keys = {"AccessKeyId": s.access, "SecretAccessKey": SECRET, "Token": "", "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + s.life))}
        text = {"/latest/api/token": "TOKEN", "/latest/meta-data/iam/security-credentials/": "the-role"}.get(self.path, json.dumps(keys))
        status = 200 if self.path == "/latest/api/token" or self.headers.get("x-aws-ec2-metadata-token") == "TOKEN" or self.headers.get("authorization") == "let me" else 401
        data = text.encode() if status == 200 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_PUT = do_GET


class Keys(StoreCase):
    def lender(self, life=3600, access=ACCESS):
        s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Lent)
        s.seen, s.life, s.access, s.daemon_threads = [], life, access, True
        threading.Thread(target=s.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.addCleanup(lambda: (s.shutdown(), s.server_close()))
        return s

    def without(self, loops=2, **env):
        return self.lab.server(self.store, loops=loops, env={"ATHENA_BACKUP_S3_ACCESS_KEY": None, "ATHENA_BACKUP_S3_SECRET_KEY": None, **env})

    def works(self, server, key):
        self.well(server.put(key, bytes=10))
        self.assertEqual(server.read(key), content(10))

    def test_of_the_environment(self):
        self.works(self.without(AWS_ACCESS_KEY_ID=ACCESS, AWS_SECRET_ACCESS_KEY=SECRET), "env")

    def test_ours_are_never_mixed_with_others(self):
        server = self.without(ATHENA_BACKUP_S3_ACCESS_KEY="UNKNOWN", AWS_ACCESS_KEY_ID=ACCESS, AWS_SECRET_ACCESS_KEY=SECRET)
        self.works(server, "pairs")

    def test_of_a_file(self):
        path = f"{self.lab.place('keys')}"
        with open(path, "w") as f:
            f.write(f"[default]\naws_access_key_id = WRONG\naws_secret_access_key = wrong\n\n[ backups ]\naws_access_key_id={ACCESS}\naws_secret_access_key = {SECRET}\n")
        self.works(self.without(AWS_SHARED_CREDENTIALS_FILE=path, AWS_PROFILE="backups"), "file")
        self.refused(self.without(AWS_SHARED_CREDENTIALS_FILE=path).read("file"), -3, 403)

    def test_of_a_machine(self):
        lender = self.lender()
        server = self.without(AWS_EC2_METADATA_DISABLED="false", AWS_EC2_METADATA_SERVICE_ENDPOINT=f"http://127.0.0.1:{lender.server_port}")
        self.works(server, "role")
        link = self.well(server.ask("GET", "link", key="role", seconds=60))["text"]
        self.assertEqual(urllib.request.urlopen(link).read(), content(10))
        asked = [(m, p) for m, p, *_ in lender.seen][:3]
        self.assertEqual(asked, [("PUT", "/latest/api/token"), ("GET", "/latest/meta-data/iam/security-credentials/"),
                                 ("GET", "/latest/meta-data/iam/security-credentials/the-role")])
        n = len(lender.seen)
        for _ in range(20):
            self.works(server, "role")
        self.assertLess(len(lender.seen) - n, 3 * 4)  # each loop asks once

    def test_of_a_container_and_renewed_in_time(self):
        lender = self.lender(life=6)
        server = self.without(loops=1, AWS_CONTAINER_CREDENTIALS_FULL_URI=f"http://127.0.0.1:{lender.server_port}/keys", AWS_CONTAINER_AUTHORIZATION_TOKEN="let me")
        self.works(server, "container")
        n = len(lender.seen)

        def renewed():
            self.works(server, "container")
            return len(lender.seen) > n

        wait_for("new keys are asked for before the old ones end", 20, renewed)
        lender.life, n = 1000, len(lender.seen)
        wait_for("those that last long are asked for", 20, renewed)
        lender.shutdown()
        lender.server_close()
        self.works(server, "container")  # the old ones still hold

    def test_a_machine_that_lends_none(self):
        for env in ({"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9"},
                    {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{self.lender().server_port}/keys"}):
            self.assertIn("there are no keys for the object store", self.refused(self.without(**env).read("a"), -3)["message"])


if __name__ == "__main__":
    unittest.main()
