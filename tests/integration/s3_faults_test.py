#!/usr/bin/env python3
"""driver-s3 when something breaks: stores in trouble, lost answers, wrong ones, ends in the middle; and what it needs of memory."""
import http.client
import os
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import s3faults as faults  # noqa: E402
from lab import wait_for  # noqa: E402
from s3lab import BUCKET, StoreCase, content, digest  # noqa: E402

MIB = 1 << 20


class Faults(StoreCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.proxy = cls.lab.proxy(cls.store)
        cls.through = cls.lab.server(cls.proxy)
        cls.through.put("warm", bytes=1)

    def setUp(self):
        self.proxy.calm()

    def uploads_go(self):
        wait_for("no upload is left", 20, lambda: self.store.client.uploads() == [])

    def holds(self, key, bytes, seed=0):
        self.assertEqual(self.server.digest(key), digest(bytes, seed))

    def test_a_store_in_trouble_is_asked_again(self):
        timeout = faults.status(400, "RequestTimeout")
        for how in (faults.status(500, "InternalError"), faults.status(503, "SlowDown"), faults.status(429, "TooManyRequests"), faults.status(502),
                    timeout, faults.reset(), faults.reset(50_000), faults.lost):
            self.proxy.calm()
            for method in ("PUT", "GET", "HEAD", "DELETE"):  # to HEAD there is a status alone, and 400 is for good
                self.proxy.spoil(method, "/again", how, times=0 if (method, how) == ("HEAD", timeout) else 3)
            self.proxy.spoil("GET", "list-type", how, times=3)
            self.well(self.through.put("again", bytes=100_000))
            self.assertEqual(self.through.read("again"), content(100_000))
            self.assertEqual(self.through.head("again")["count"], 100_000)
            self.assertEqual(len(self.through.list(prefix="again")["list"]), 1)
            self.well(self.through.remove("again"))
            self.assertEqual(self.proxy.count("PUT", "/again"), 4)

    def test_a_store_that_stays_in_trouble_is_given_up(self):
        self.proxy.spoil("PUT", "/given-up", faults.status(503, "SlowDown"), times=100)
        self.refused(self.through.put("given-up", bytes=10), -10, 503, "SlowDown")
        self.assertEqual(self.proxy.count("PUT", "/given-up"), 8)
        self.assertEqual(self.server.head("given-up")["rc"], -4)

    def test_a_delay_that_is_asked_for_is_kept(self):
        self.proxy.spoil("GET", "/warm", faults.status(503, "SlowDown", Retry_After="2"))
        began = time.monotonic()
        self.assertEqual(len(self.through.read("warm")), 1)
        self.assertGreaterEqual(time.monotonic() - began, 2)

    def test_what_is_refused_is_not_asked_again(self):
        for number, code, rc in ((403, "AccessDenied", -3), (400, "InvalidArgument", -1), (409, "Conflict", -5), (501, "NotImplemented", -10)):
            self.proxy.calm()
            self.proxy.spoil("GET", "/warm", faults.status(number, code), times=9)
            self.refused(self.through.read("warm"), rc, number, code)
            self.assertEqual(self.proxy.count("GET", "/warm"), 1)

    def test_words_of_the_store_never_hold_what_could_be_used(self):
        """D-73"""
        for words in ("see http://host/key?X-Amz-Signature=00ff", "Credential=AKIA", "the ignature=abc"):
            self.proxy.spoil("GET", "/warm", faults.status(403, "AccessDenied", words))
            self.assertEqual(self.refused(self.through.read("warm"), -3, 403)["message"], f'could not get object "warm" in bucket "{BUCKET}": 403 AccessDenied')
        self.proxy.spoil("GET", "/warm", faults.answer(403, b"<html>not XML"))
        self.assertEqual(self.refused(self.through.read("warm"), -3, 403)["message"], f'could not get object "warm" in bucket "{BUCKET}": 403')
        self.proxy.spoil("GET", "/warm", faults.answer(403, b"<Error><Code>A</Code><Message></Message></Error>"))
        self.refused(self.through.read("warm"), -3, 403, "A")
        self.proxy.spoil("GET", "/warm", faults.answer(403, b"<Error>" + b"x" * 3 * MIB))
        self.refused(self.through.read("warm"), -3, 403)

    def test_parts_in_trouble_are_sent_again(self):
        for how in (faults.status(500, "InternalError"), faults.status(503, "SlowDown"), faults.reset(3 * MIB), faults.lost, faults.silent(6)):
            self.proxy.calm()
            self.proxy.spoil("PUT", "partNumber=2&", how, times=1 if how.__qualname__.startswith("silent") else 2)
            self.proxy.spoil("PUT", "partNumber=4&", how)
            self.well(self.through.put("parts", bytes=30 * MIB, seed=4))
            self.holds("parts", 30 * MIB, 4)
        self.uploads_go()

    def test_a_part_that_never_arrives_takes_all_back(self):
        """D-56: an upload that failed leaves nothing in the store."""
        for how, rc in ((faults.status(500, "InternalError"), -10), (faults.status(403, "AccessDenied"), -3), (faults.reset(MIB), -10)):
            self.proxy.calm()
            self.proxy.spoil("PUT", "partNumber=3&", how, times=100)
            self.refused_or_lost(self.through.put("failed", bytes=40 * MIB), rc)
            self.uploads_go()
            self.assertGreaterEqual(self.proxy.count("DELETE", "uploadId="), 1)
            self.assertEqual(self.server.head("failed")["rc"], -4)

    def refused_or_lost(self, answer, rc):
        self.assertEqual(answer["rc"], rc, answer)
        self.check_words(answer["message"].replace("http://", "", 1))

    def test_taking_back_is_tried_again(self):
        self.proxy.spoil("PUT", "partNumber=1&", faults.status(403, "AccessDenied"), times=100)
        self.proxy.spoil("DELETE", "uploadId=", faults.status(500, "InternalError"), times=3)
        self.refused(self.through.put("tried", bytes=20 * MIB), -3)
        self.uploads_go()

    def test_a_source_that_fails_is_never_completed(self):
        for bytes, fail_at in ((100_000, 65536), (40 * MIB, 20 * MIB), (40 * MIB, 39 * MIB)):
            answer = self.through.put("source", bytes=bytes, fail_at=fail_at)
            self.assertEqual(answer["rc"], -10, answer)
            self.uploads_go()
            self.assertEqual(self.server.head("source")["rc"], -4)
        self.assertEqual(self.proxy.count("POST", "uploadId="), 0)

    def test_a_cancel_takes_all_back(self):
        self.proxy.spoil("PUT", "partNumber=2&", faults.silent(3), times=1)
        answer = self.through.put("cancelled", bytes=200 * MIB, pause_ms=1, cancel_ms=1500)
        self.assertEqual(answer["rc"], -9, answer)
        self.uploads_go()
        self.assertEqual(self.server.head("cancelled")["rc"], -4)

    def test_a_caller_that_leaves_takes_all_back(self):
        c = self.leave("left", bytes=400 * MIB, pause_ms=2)
        wait_for("parts are on their way", 30, lambda: self.proxy.count("PUT", "partNumber=") >= 2)
        c.close()
        self.uploads_go()
        self.assertEqual(self.server.head("left")["rc"], -4)

    def leave(self, key, **words):
        c = http.client.HTTPConnection("127.0.0.1", self.through.athena.port, timeout=60)
        c.request("PUT", self.through.path("object", {"key": key, **words}))
        return c

    def test_a_beginning_whose_answer_is_lost_leaves_nothing(self):
        self.proxy.spoil("POST", "uploads=", faults.lost, times=2)
        self.well(self.through.put("twice", bytes=20 * MIB))
        self.uploads_go()
        self.holds("twice", 20 * MIB)
        self.proxy.spoil("POST", "uploads=", faults.lost, times=100)
        self.assertEqual(self.through.put("thrice", bytes=20 * MIB)["rc"], -10)
        self.uploads_go()

    def test_an_end_whose_answer_is_lost_is_found(self):
        self.proxy.spoil("POST", "uploadId=", faults.lost)
        self.well(self.through.put("ended", bytes=20 * MIB, seed=8))
        self.holds("ended", 20 * MIB, 8)
        self.uploads_go()

    def test_a_failure_behind_a_good_status_is_one(self):
        self.proxy.spoil("POST", "uploadId=", faults.answer(200, b"<?xml version=\"1.0\"?>\n   " + faults.error("InternalError")[39:]), times=2)
        self.well(self.through.put("behind", bytes=20 * MIB))
        self.holds("behind", 20 * MIB)
        for words, rc in ((faults.error("InvalidPart"), -1), (faults.error("InternalError"), -10), (b"<CompleteMultipartUploadResult><ETag>x", -10), (b"", -10)):
            self.proxy.calm()
            self.proxy.spoil("POST", "uploadId=", faults.answer(200, words), times=100)
            answer = self.through.put("behind-for-good", bytes=20 * MIB)
            self.assertLess(answer["rc"], 0, answer)
            self.uploads_go()
            self.assertEqual(self.server.head("behind-for-good")["rc"], -4)

    def test_an_object_that_is_not_what_was_sent_is_no_success(self):
        """Of a part that is found by its checksum, or at the end; a whole is looked at, and removed."""
        self.proxy.spoil("PUT", "partNumber=2&", faults.with_header("x-amz-checksum-crc32", "AAAAAA=="), times=2)
        self.well(self.through.put("etag", bytes=20 * MIB))
        self.assertEqual(self.proxy.count("PUT", "partNumber=2&"), 3)
        self.holds("etag", 20 * MIB)
        self.proxy.spoil("PUT", "partNumber=2&", faults.with_header("ETag", '"' + "0" * 32 + '"'))
        self.refused(self.through.put("etag-part", bytes=20 * MIB), -1, 400, "InvalidPart")
        self.uploads_go()
        self.proxy.spoil("PUT", "/etag-none", faults.with_header("ETag", None), times=1)
        self.well(self.through.put("etag-none", bytes=1000))
        wrong = b"0" * 32 + b"-3"
        self.proxy.spoil("POST", "uploadId=", self.other_etag(wrong))
        self.assertEqual(self.through.put("etag-whole", bytes=20 * MIB)["rc"], -10)
        wait_for("it is removed", 20, lambda: self.server.head("etag-whole")["rc"] == -4)

    def other_etag(self, wrong):
        def spoil(h):
            number, headers, data = h.forward()
            at = data.index(b"<ETag>") + 6
            h.answer(number, headers, data[:at] + wrong + data[data.index(b"</ETag>"):])
        return spoil

    def test_a_download_goes_on_where_it_broke(self):
        self.well(self.server.put("broken", bytes=3_000_000, seed=5))
        for n, (length, first) in enumerate(((3_000_000, 0), (1_000_000, 500_000))):
            self.proxy.calm()
            self.proxy.spoil("GET", "/broken", faults.cut(400_000), times=4)
            got = self.through.read("broken", **({"from": first, "length": length} if n else {}))
            self.assertEqual(got, content(3_000_000, 5)[first:first + length])
            self.assertGreaterEqual(self.proxy.count("GET", "/broken"), 3)

    def test_a_download_that_stands_still_goes_on(self):
        self.well(self.server.put("still", bytes=500_000))
        self.proxy.spoil("GET", "/still", faults.stalled(100_000, 8))
        self.assertEqual(self.through.read("still"), content(500_000))

    def test_a_slow_download_is_a_good_one(self):
        self.well(self.server.put("slow", bytes=400_000))
        self.proxy.spoil("GET", "/slow", faults.dribble(20_000, 0.3), times=1)
        self.assertEqual(self.through.read("slow"), content(400_000))
        self.assertEqual(self.proxy.count("GET", "/slow"), 1)

    def cut_off(self, key):
        """A download that cannot go on is cut, not ended."""
        with self.assertRaises((http.client.IncompleteRead, ConnectionError, http.client.HTTPException)):
            self.through.read(key)

    def test_a_download_never_ends_short(self):
        self.well(self.server.put("short", bytes=500_000))
        self.proxy.spoil("GET", "/short", faults.cut(100_000))
        self.proxy.spoil("GET", "/short", faults.status(503, "SlowDown"), times=100)
        self.cut_off("short")

    def test_a_download_never_changes_in_between(self):
        self.well(self.server.put("changed", bytes=500_000, seed=1))
        self.proxy.spoil("GET", "/changed", faults.cut(100_000))
        self.proxy.spoil("GET", "/changed", lambda h: (self.server.put("changed", bytes=500_000, seed=2), h.answer(*h.forward())))
        self.cut_off("changed")

    def test_a_store_that_forgets_the_range_is_not_believed(self):
        self.well(self.server.put("whole", bytes=300_000))
        def whole(h):
            del h.headers["range"]
            h.answer(*h.forward())
        self.proxy.spoil("GET", "/whole", faults.answer(200, content(300_000), etag='"x"'), times=100)
        self.assertEqual(self.through.read("whole", **{"from": 100_000, "length": 10})["rc"], -10)

    def test_a_store_that_gives_nothing_again_and_again_is_given_up(self):
        self.well(self.server.put("dry", bytes=300_000))
        self.proxy.spoil("GET", "/dry", faults.cut(0), times=100)
        self.cut_off("dry")
        self.assertLess(self.proxy.count("GET", "/dry"), 20)

    def test_a_list_that_is_cut_short_is_no_list(self):
        self.proxy.spoil("GET", "list-type", faults.answer(200, b"<ListBucketResult><Contents><Key>a</Key></Contents>"), times=100)
        self.assertEqual(self.through.list()["rc"], -10)

    def test_clocks_that_differ(self):
        now = time.time()
        skewed = faults.status(403, "RequestTimeTooSkewed", Date=time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now + 40)))
        self.proxy.spoil("GET", "/warm", skewed)
        self.assertEqual(len(self.through.read("warm")), 1)
        self.assertEqual(self.proxy.count("GET", "/warm"), 2)


class Dialects(StoreCase):
    """What a store knows of checksums is found out once, and nothing is stored without one that it could know."""
    def fresh(self):
        proxy = self.lab.proxy(self.store)
        return proxy, self.lab.server(proxy)

    def headers_of(self, proxy):
        """Which checksum each PUT and POST came with."""
        seen = []
        def look(h):
            seen.append(next((n for n in ("x-amz-checksum-crc32", "x-amz-checksum-algorithm", "content-md5") if h.headers.get(n)), None))
            h.answer(*h.forward())
        proxy.spoil("PUT", "/", look, times=1000)
        proxy.spoil("POST", "uploads=", look, times=1000)
        return seen

    def test_a_store_that_does_not_listen_gets_md5(self):
        proxy, server = self.fresh()
        deaf = faults.with_header("x-amz-checksum-crc32", None)
        proxy.spoil("PUT", "/deaf", deaf)
        seen = self.headers_of(proxy)
        self.well(server.put("deaf", bytes=1000))
        self.well(server.put("deaf", bytes=1000))
        self.well(server.put("deaf", bytes=9 * MIB))
        self.assertEqual(set(seen), {"content-md5", None})

    def test_by_md5_another_etag_is_seen_at_once(self):
        proxy, server = self.fresh()
        proxy.spoil("PUT", "/deaf", faults.with_header("x-amz-checksum-crc32", None))
        self.well(server.put("deaf", bytes=1))
        for part in ("partNumber=2&", "/etag-small"):
            proxy.spoil("PUT", part, faults.with_header("ETag", '"' + "0" * 32 + '"'), times=2)
        self.well(server.put("etag", bytes=20 * MIB))
        self.well(server.put("etag-small", bytes=1000))
        self.assertEqual((proxy.count("PUT", "partNumber=2&"), proxy.count("PUT", "/etag-small")), (3, 3))

    def test_a_store_that_refuses_one_gets_another(self):
        for refusals, want in ((1, "content-md5"), (2, None)):
            for number, code in ((400, "InvalidArgument"), (501, "NotImplemented")):
                proxy, server = self.fresh()
                proxy.spoil("PUT", "/refused", faults.status(number, code), times=refusals)
                seen = self.headers_of(proxy)
                self.well(server.put("refused", bytes=1000))
                self.assertEqual(seen, [want])

    def test_in_parts_too(self):
        proxy, server = self.fresh()
        proxy.spoil("POST", "uploads=", faults.status(501, "NotImplemented"))
        proxy.spoil("PUT", "partNumber=1&", faults.status(501, "NotImplemented"))
        seen = self.headers_of(proxy)
        self.well(server.put("refused-parts", bytes=20 * MIB))
        self.assertIsNone(seen[-1])
        self.assertEqual(self.server.digest("refused-parts"), digest(20 * MIB))

    def test_what_is_refused_for_itself_is_refused(self):
        proxy, server = self.fresh()
        proxy.spoil("PUT", "/itself", faults.status(400, "InvalidRequest"), times=100)
        self.refused(server.put("itself", bytes=1000), -1, 400, "InvalidRequest")


class Ends(StoreCase):
    def restarted(self, server, key):
        """What becomes of an upload whose store is killed in the middle, and started again."""
        done = {}
        t = threading.Thread(target=lambda: done.update(server.put(key, bytes=64 * MIB, seed=6, pause_ms=1)))
        t.start()
        wait_for("the upload has begun", 30, lambda: self.store.client.uploads() == [key] and server.metric('athena_s3_bytes_total{direction="sent"}'))
        self.store.kill()
        self.store.start()
        t.join()
        return done

    def test_a_store_that_is_restarted_in_the_middle(self):
        """It goes on where it was."""
        server = self.lab.server(self.store, {"ATHENA_BACKUP_S3_TRIES": "50"})
        self.well(self.restarted(server, "goes-on"))
        self.assertEqual(server.digest("goes-on"), digest(64 * MIB, 6))
        self.assertEqual(self.store.client.uploads(), [])

    def test_a_store_that_is_away_for_too_long(self):
        """The upload has failed, and is taken back when the store is there again."""
        server = self.lab.server(self.store, {"ATHENA_BACKUP_S3_TRIES": "2"})
        self.assertEqual(self.restarted(server, "gives-up")["rc"], -10)
        wait_for("no upload is left", 60, lambda: self.store.client.uploads() == [])
        self.assertEqual(server.head("gives-up")["rc"], -4)

    def test_a_stop_takes_back_what_is_unfinished(self):
        server = self.lab.server(self.store)
        t = threading.Thread(target=lambda: self.quietly(server))
        t.start()
        wait_for("the upload has begun", 30, lambda: "stopped" in self.store.client.uploads())
        server.athena.process.terminate()
        time.sleep(0.2)
        server.athena.process.terminate()  # at once
        server.athena.process.wait(30)
        t.join()
        self.assertEqual(self.store.client.uploads(), [])

    def quietly(self, server):
        try:
            server.put("stopped", bytes=2000 * MIB, pause_ms=10)
        except (OSError, http.client.HTTPException, AssertionError, ValueError):
            pass

    def test_what_a_killed_process_leaves_can_be_found(self):
        server = self.lab.server(self.store)
        t = threading.Thread(target=lambda: self.quietly(server))
        t.start()
        wait_for("the upload has begun", 30, lambda: "stopped" in self.store.client.uploads())
        server.athena.process.kill()
        t.join()
        left = self.well(self.server.uploads(prefix="stop"))["list"]
        self.assertEqual([u["key"] for u in left], ["stopped"])
        self.assertRegex(left[0]["started"], r"^20\d\d-")
        self.well(self.server.ask("DELETE", "upload", key="stopped", id=left[0]["upload_id"]))
        self.assertEqual(self.server.uploads()["list"], [])


class Memory(StoreCase):
    def test_memory_does_not_grow_with_the_object(self):
        """D-40: neither an upload nor a download is held in memory."""
        small = self.lab.server(self.store, {"ASAN_OPTIONS": "quarantine_size_mb=4:thread_local_quarantine_size_kb=256"})
        self.well(small.put("memory", bytes=64 * MIB))
        self.assertEqual(small.digest("memory"), digest(64 * MIB))
        base = small.peak_kib()
        self.well(small.put("memory", bytes=1024 * MIB))
        self.assertEqual(small.digest("memory"), digest(1024 * MIB))
        self.assertLess(small.peak_kib() - base, 48 * 1024)
        self.server.remove("memory")


if __name__ == "__main__":
    unittest.main()
