#!/usr/bin/env python3
"""driver-s3 against other S3 servers than SeaweedFS: Swift, which compares signed digests with bodies, and radosgw."""
import os
import sys
import unittest
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import s3faults as faults  # noqa: E402
from lab import wait_for  # noqa: E402
from s3lab import BUCKET, S3Lab, content, digest  # noqa: E402
from s3stores import Radosgw, Swift  # noqa: E402

MIB = 1 << 20


class Stores:
    """The same for each of them."""
    @classmethod
    def setUpClass(cls):
        cls.lab = S3Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.store = cls.lab.store(cls.kind)
        cls.server = cls.lab.server(cls.store)
        cls.proxy = cls.lab.proxy(cls.store)
        cls.through = cls.lab.server(cls.proxy)

    def setUp(self):
        self.proxy.calm()

    def well(self, answer):
        self.assertEqual(answer.get("rc"), 0, answer)
        return answer

    def refused(self, answer, rc, status):
        self.assertEqual((answer.get("rc"), answer.get("status")), (rc, str(status)), answer)

    def test_objects(self):
        for bytes in (0, 1, 100_000, 8 * MIB, 20 * MIB):
            self.assertEqual(self.well(self.server.put("a/b", bytes=bytes, seed=2, label="l"))["count"], bytes)
            self.assertEqual(self.server.digest("a/b"), digest(bytes, 2))
        head = self.well(self.server.head("a/b"))
        self.assertEqual((head["count"], head["header"]["x-amz-meta-label"]), (20 * MIB, "l"))
        self.assertEqual(self.server.read("a/b", **{"from": 9 * MIB, "length": 1000}), content(1000, 2, 9 * MIB))
        self.refused(self.server.read("a/b", **{"from": 20 * MIB, "length": 1}), -1, 416)
        self.refused(self.server.read("a/b", etag='"0"'), -5, 412)
        self.well(self.server.remove("a/b"))
        self.well(self.server.remove("a/b"))
        self.refused(self.server.read("a/b"), -4, 404)
        self.assertEqual(self.server.uploads()["list"], [])

    def test_keys_of_all_sorts(self):
        keys = ["keys/with blank", "keys/ü-漢-🐘", "keys/a+b", "keys/a%20b", "keys/a&b=c?d", "keys/~x*'()!,;:@$", "keys/p/../q", "keys/<xml>&amp;\"", "keys/a//b"]
        for n, key in enumerate(keys):
            self.well(self.server.put(key, bytes=100, seed=n))
        for n, key in enumerate(keys):
            self.assertEqual(self.server.read(key), content(100, n), key)
            link = self.well(self.server.ask("GET", "link", key=key, seconds=60))["text"]
            self.assertEqual(urllib.request.urlopen(link).read(), content(100, n), key)
        self.assertEqual([o["key"] for o in self.server.list(prefix="keys/")["list"]], sorted(keys, key=str.encode))

    def test_pages(self):
        keys, after = [], ""
        for n in range(25):
            self.store.client.well("PUT", f"/{BUCKET}/pages/{n:02}", body=b"x")
        while True:
            page = self.well(self.server.list(prefix="pages/", limit=10, after=after))
            keys += [o["key"] for o in page["list"]]
            if not page["count"]:
                break
            after = keys[-1]
        self.assertEqual(keys, [f"pages/{n:02}" for n in range(25)])

    def test_who_may_not(self):
        for env in ({"ATHENA_BACKUP_S3_SECRET_KEY": "wrong"}, {"ATHENA_BACKUP_S3_ACCESS_KEY": "unknown"}):
            server = self.lab.server(self.store, env)
            for answer in (server.put("denied", bytes=1), server.put("denied", bytes=20 * MIB), server.read("denied")):
                self.assertEqual(answer["rc"], -3, answer)
                self.assertNotIn(self.store.secret, str(answer))
        self.refused(self.server.put("a", bytes=1, bucket="no-such-bucket"), -4, 404)
        self.refused(self.server.list(bucket="no-such-bucket"), -4, 404)

    def test_what_failed_leaves_nothing(self):
        self.proxy.spoil("PUT", "partNumber=2", faults.status(403, "AccessDenied"), times=100)
        self.assertEqual(self.through.put("failed", bytes=30 * MIB)["rc"], -3)
        wait_for("no upload is left", 20, lambda: self.server.uploads()["list"] == [])
        self.refused(self.server.head("failed"), -4, 404)

    def test_uploads_that_others_left(self):
        self.store.client.well("POST", f"/{BUCKET}/left/by&others", {"uploads": ""})
        left = self.well(self.server.uploads(prefix="left/"))["list"]
        self.assertEqual([u["key"] for u in left], ["left/by&others"])
        self.assertTrue(left[0]["started"])
        self.well(self.server.ask("DELETE", "upload", key="left/by&others", id=left[0]["upload_id"]))
        self.well(self.server.ask("DELETE", "upload", key="left/by&others", id=left[0]["upload_id"]))
        self.assertEqual(self.server.uploads()["list"], [])

    def test_bytes_that_changed_on_the_way_are_not_stored(self):
        """By the signed digest, or by a checksum: another try brings the right ones."""
        def flipped(h):
            data = h.body()
            h.data = data[:-1] + bytes([data[-1] ^ 1])
            h.answer(*h.forward())
        for part, bytes in (("/flipped", 1000), ("partNumber=2", 20 * MIB)):
            self.proxy.spoil("PUT", part, flipped, times=2)
            self.well(self.through.put("flipped", bytes=bytes))
            self.assertEqual(self.server.digest("flipped"), digest(bytes))

    def test_what_breaks_goes_on(self):
        self.proxy.spoil("PUT", "partNumber=2", faults.reset(MIB), times=2)
        self.proxy.spoil("POST", "uploadId=", faults.lost)
        self.well(self.through.put("broken", bytes=20 * MIB))
        self.proxy.spoil("GET", "/broken", faults.cut(6 * MIB), times=3)
        self.assertEqual(self.through.digest("broken"), digest(20 * MIB))
        self.assertEqual(self.server.uploads()["list"], [])


class OnSwift(Stores, unittest.TestCase):
    kind = Swift


class OnRadosgw(Stores, unittest.TestCase):
    kind = Radosgw


if __name__ == "__main__":
    unittest.main()
