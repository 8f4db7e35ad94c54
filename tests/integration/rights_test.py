#!/usr/bin/env python3
"""What each statement asks for: a right for every relation that it touches, by its final schema and table (auth.md 3, 5; D-7)."""
import json
import os
import subprocess
import sys
import unittest
from urllib.parse import quote

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from keylab import PLACE, KeyLab  # noqa: E402
from lab import ADMIN_KEY  # noqa: E402

FETCH, INSERT, UPDATE, DELETE = (("POST", "/gateway/fetch"), ("PUT", "/gateway/insert"), ("POST", "/gateway/update"), ("DELETE", "/gateway/delete"))
QUERY, RPC, COUNT, SQL = ("POST", "/gateway/query"), ("POST", "/gateway/rpc"), ("POST", "/query/count"), ("POST", "/query/sql")
TRANSACTION = ("POST", "/gateway/transaction")
WITH_DRIVER = {"driver": "postgresql", "db_name": "app"}
ROW = {"who": "x"}


def table(name, **more):
    return {"table_name": name, **more}


def of(*operations):
    return {"operations": [{"kind": kind, "payload": payload} for kind, payload in operations]}


# A route, its body, the rights that it asks for.
ASKS = [
    # reading
    (FETCH, table("place"), "place.read"),
    (FETCH, table("seen"), "seen.read"),
    (FETCH, table("public.place"), "place.read"),
    (FETCH, table("orders", schema_name="sales"), "orders.read"),
    (FETCH, table("sales.orders"), "orders.read"),
    (FETCH, table("athena.users"), "athena.users.read"),
    (FETCH, table("users", schema_name="athena"), "athena.users.read"),
    (FETCH, table("management"), "public.management.read"),
    (FETCH, table("\"odd name\""), "gateway.read"),
    (FETCH, table("place", select="id,line(note)"), "place.read line.read"),
    (FETCH, table("place", select="id,line!inner(note)", where={"line.note": {"eq": "n"}}), "place.read line.read"),
    (FETCH, table("place", select={"id": True, "line": {"select": {"note": True}}}), "place.read line.read"),
    (FETCH, table("place", select="id,tag(word)"), "place.read tag.read place_tag.read"),
    (FETCH, table("line", select="note,place(who,tag(word))"), "line.read place.read tag.read place_tag.read"),
    (FETCH, table("line", select="note,place(who,line(note))"), "line.read place.read"),
    (FETCH, table("place", count="exact", head=True), "place.read"),
    (FETCH, table("place", group_by="who"), "place.read"),
    (("POST", "/gateway/data"), table("place"), "place.read"),
    (("GET", "/data?view=sales.orders&eq_column=id&eq_value=1"), None, "orders.read"),
    (("GET", "/data?view=athena.users&eq_column=id&eq_value=1"), None, "athena.users.read"),
    (("GET", "/rest/v1/place?select=id,line(note)"), None, "place.read line.read"),
    (("GET", "/rest/v1/sales.orders"), None, "orders.read"),
    (("POST", "/db/fetch"), table("place"), "place.read"),
    (("POST", "/public/shop/fetch"), table("place", select="id,line(note)"), "place.read line.read"),
    (COUNT, {**WITH_DRIVER, "table_name": "place"}, "place.read"),
    (COUNT, {**WITH_DRIVER, "table_name": "orders", "table_schema": "sales"}, "orders.read"),
    (COUNT, {**WITH_DRIVER, "query": "select count(*) from place"}, "gateway.query"),
    # writing: what was written comes back without a right to read
    (INSERT, table("place", insert_body=ROW), "place.write"),
    (INSERT, table("place", insert_body=[ROW, ROW]), "place.write"),
    (INSERT, table("orders", schema_name="sales", insert_body=ROW), "orders.write"),
    (INSERT, table("athena.users", insert_body=ROW), "athena.users.write"),
    (INSERT, table("tag", insert_body={"word": "w"}, on_conflict="word", update_body={"word": "w"}), "tag.write"),
    (("POST", "/gateway/insert"), table("place", insert_body=ROW), "place.write"),
    (UPDATE, table("place", set=ROW, where={"id": 0}), "place.write"),
    (UPDATE, table("athena.users", set=ROW, where={"id": 0}), "athena.users.write"),
    (DELETE, table("place", where={"id": 0}), "place.delete"),
    (DELETE, table("management", where={"id": 0}), "public.management.delete"),
    (("POST", "/gateway/delete"), table("place", resource_id="0"), "place.delete"),
    (("POST", "/rest/v1/place"), ROW, "place.write"),
    (("PATCH", "/rest/v1/place?id=eq.0"), ROW, "place.write"),
    (("DELETE", "/rest/v1/place?id=eq.0"), None, "place.delete"),
    (TRANSACTION, of(("fetch", table("place", select="id,line(note)")), ("insert", table("line", insert_body={"note": "t"})),
                     ("update", table("sales.orders", set=ROW, where={"id": 0})), ("delete", table("place_tag", where={"tag": 0}))),
     "place.read line.read line.write orders.write place_tag.delete"),
    # SQL and functions
    (QUERY, {"query": "select who from place where id = 1"}, "gateway.query"),
    (QUERY, {"query": "select 1; select 2"}, "gateway.query"),
    (QUERY, {"query": "SELECT id,lines:line(note) FROM place"}, "place.read line.read"),
    (SQL, {**WITH_DRIVER, "query": "select 1"}, "gateway.query"),
    (("POST", "/gateway/sql"), {**WITH_DRIVER, "query": "select 1"}, "gateway.query"),
    (RPC, {"function": "one"}, "gateway.rpc.execute"),
    (RPC, {"function": "places", "select": "id,line(note)"}, "gateway.rpc.execute line.read"),
    (RPC, {"function": "places", "select": "id,line(note,place(id))"}, "gateway.rpc.execute line.read place.read"),
    (("GET", "/rpc/one"), None, "gateway.rpc.execute"),
    (("POST", "/rpc/one"), {}, "gateway.rpc.execute"),
]


class Rights(KeyLab):
    def ask(self, route, body, key, **headers):
        public = route[1].startswith("/public")
        return self.call(*route, body, key, None if public else "app", cache_control="no-cache", **headers)

    def refused(self, answer, missing, what):
        self.assertEqual((answer.status, answer.json["message"]), (403, "Insufficient API key rights"), f"{what}: {answer.body}")
        self.assertEqual(answer.json["error"], f"Missing required rights: {missing}", what)

    def test_21_8_every_statement_asks_for_every_relation(self):
        """D-7: with all of them it runs; without any one of them it does not, and that one is named."""
        nothing = self.key("gateway.access")
        for route, body, rights in ASKS:
            what = f"{' '.join(route)} {body}"
            rights = rights.split()
            answer = self.ask(route, body, self.key(*rights))
            self.assertIn(answer.status, (200, 201, 204), f"{what}: {answer.body}")
            for r in rights:
                left = [x for x in rights if x != r] or ["gateway.access"]
                self.refused(self.ask(route, body, self.key(*left)), r, what)
            answer = self.ask(route, body, nothing)
            self.assertEqual(answer.status, 403, what)
            self.assertTrue(answer.json["error"].startswith(f"Missing required rights: {rights[0]}"), answer.body)

    def test_several_missing_rights_are_listed_in_their_order(self):
        self.refused(self.ask(FETCH, table("line", select="note,place(who,tag(word))"), self.key("place.read")),
                     "line.read, tag.read, place_tag.read", "fetch")

    def test_wildcards_cover_what_they_say(self):
        """5.2, and what they do not reach: a protected schema by a short name."""
        for granted in ("place.*", "*.read", "gateway.read", "gateway.*", "*", "public.place.read", "public.place.*"):
            self.assertEqual(self.ask(FETCH, PLACE, self.key(granted)).status, 200, granted)
        for granted in ("place.write", "*.write", "gateway.query", "sales.place.read", "plac.read", "Place.read", "public.*"):
            self.assertEqual(self.ask(FETCH, PLACE, self.key(granted)).status, 403, granted)
        for granted in ("users.read", "users.*", "athena.*", "public.users.read"):
            self.refused(self.ask(FETCH, table("athena.users"), self.key(granted)), "athena.users.read", granted)
        for granted in ("management.read", "management.*"):
            self.refused(self.ask(FETCH, table("management"), self.key(granted)), "public.management.read", granted)

    def test_21_6_a_plain_select_needs_the_right_to_read_or_to_run_sql(self):
        """gateway.md 21.6: SQL that clients generate for a read by its key."""
        select = {"query": "SELECT * FROM \"place\" WHERE \"id\" = 1 LIMIT 1;"}
        for granted in ("place.read", "gateway.query"):
            self.assertEqual(self.ask(QUERY, select, self.key(granted)).status, 200, granted)
        self.refused(self.ask(QUERY, select, self.key("line.read")), "place.read", "neither")
        self.refused(self.ask(QUERY, {"query": "SELECT * FROM \"athena\".\"users\";"}, self.key("users.read")), "athena.users.read", "protected")
        # Relations are no SQL: who may run that has to be allowed to read them.
        relations = {"query": "SELECT id,lines:line(note) FROM place"}
        self.refused(self.ask(QUERY, relations, self.key("gateway.query", "place.read")), "line.read", "relations")

    def test_a_kept_answer_is_not_for_everybody(self):
        """Who may read it has it from the cache; who may not is refused before anybody looks there."""
        for route, body in ((FETCH, table("place", select="id,line(note)")), (FETCH, PLACE), (("GET", "/rest/v1/place"), None),
                            (COUNT, {**WITH_DRIVER, "table_name": "place"}), (("GET", "/data?view=place&eq_column=id&eq_value=1"), None)):
            good, bad = self.key("place.read", "line.read"), self.key("tag.read")
            for _ in range(3):
                answer = self.call(*route, body, good, "app")
                self.assertEqual(answer.status, 200, answer.body)
            self.assertEqual(answer.headers.get("x-athena-cached"), "true", (route, answer.headers))
            for _ in range(2):
                self.assertEqual(self.call(*route, body, bad, "app").status, 403, route)
                self.assertEqual(self.call(*route, body, None, "app").status, 401, route)

    def test_an_insert_that_waits_for_others_is_asked_for_too(self):
        good, bad = self.key("place.write"), self.key("place.read")
        self.assertEqual(self.ask(INSERT, table("place", insert_body=ROW), good, x_athena_insert_window="20").status, 200)
        self.refused(self.ask(INSERT, table("place", insert_body=ROW), bad, x_athena_insert_window="20"), "place.write", "window")

    def test_D_2_a_key_of_a_client_works_for_it_everywhere(self):
        """Raw SQL and functions too, in any spelling of the client's name (D-1), and for no other."""
        key = self.key("*", client="App")
        for route, body in ((QUERY, {"query": "select 1"}), (RPC, {"function": "one"}), (("GET", "/rpc/one"), None), (SQL, {**WITH_DRIVER, "query": "select 1"})):
            for client in ("app", "APP", " App "):
                self.assertEqual(self.call(*route, body, key, client).status, 200, (route, client))
            answer = self.call(*route, body, key, "two")
            self.assertEqual((answer.status, answer.json["message"]), (403, "API key client mismatch"), answer.body)

    def test_the_administrator_may_everything(self):
        for route, body, _ in ASKS:
            self.assertIn(self.ask(route, body, ADMIN_KEY).status, (200, 201, 204), (route, body))


class Can(KeyLab):
    """athena keys can, and its route: they say what a request would be told."""
    TABLE = ["--table", "public.place"]

    def id(self, key):
        return self.store.run(f"select api_keys_id from api_keys where public_id = '{key.public_id}'")

    def can(self, key, right, **more):
        query = "&".join(f"{k}={quote(v)}" for k, v in {"right": right, **more}.items())
        answer = self.call("GET", f"/admin/api-keys/{self.id(key)}/can?{query}", None, ADMIN_KEY)
        self.assertEqual((answer.status, answer.json["message"]), (200, "Checked API key"), answer.body)
        self.assertEqual(list(answer.json["data"]), ["allowed", "enforced", "lines", "required", "summary"])
        return answer.json["data"]

    def line(self, data, check):
        return next((x["verdict"], x["why"]) for x in data["lines"] if x["check"] == check)

    def test_it_says_what_requests_are_told(self):
        """Every kind of key, for a table, SQL and a function: what is said is what happens."""
        keys = {"good": self.key("place.read", "gateway.query"), "line": self.key("line.read"), "all": self.key("*"),
                "over": self.key("*", expires="now() - interval '1 hour'"), "off": self.key("*", active=False), "two": self.key("*", client="two"),
                "app": self.key("*", client="App"), "far": self.key("*", white=("192.0.2.0/24",))}
        for name, key in keys.items():
            for right, more, route, body in (("read", {"table": "place"}, FETCH, PLACE), ("gateway.query", {}, QUERY, {"query": "select 1"}),
                                             ("write", {"table": "public.place"}, INSERT, table("place", insert_body=ROW)),
                                             ("athena.users.read", {"table": "athena.users"}, FETCH, table("athena.users")),
                                             ("gateway.rpc.execute", {}, RPC, {"function": "one"})):
                data = self.can(key, right, client="APP", address="10.0.0.7", **more)
                answer = self.call(*route, body, key, "app")
                self.assertEqual(data["allowed"], answer.status == 200, (name, right, data, answer.body))
                self.assertIs(data["enforced"], True)
                if answer.status == 403 and "right" in answer.json["message"]:
                    self.assertTrue(data["summary"].startswith(answer.json["error"]), (data["summary"], answer.body))
                elif answer.status != 200 and "whitelist" not in answer.body:
                    self.assertTrue(data["summary"].startswith(answer.json["error"]), (data["summary"], answer.body))

    def test_each_line_has_its_reason(self):
        data = self.can(self.key("place.*"), "read", table="place", client="app")
        self.assertEqual([x["check"] for x in data["lines"]], ["store", "enforced", "active", "expiry", "client", "right", "address"])
        self.assertEqual(self.line(data, "right"), ("yes", "\"place.*\" is granted and covers place.read on table public.place"))
        self.assertEqual(self.line(data, "enforced"), ("yes", "keys are asked for of client \"app\""))
        self.assertEqual(self.line(data, "address")[0], "note")
        data = self.can(self.key("users.read"), "read", table="athena.users")
        self.assertEqual((data["allowed"], data["required"]), (False, "athena.users.read"))
        data = self.can(self.key("*", white=("192.0.2.0/24",)), "gateway.query", address="::ffff:192.0.2.9")
        self.assertEqual(self.line(data, "address"), ("yes", "192.0.2.9 may use it, by the lists of addresses"))

    def test_what_cannot_be_asked_is_refused(self):
        key = self.key("*")
        for path, status in ((f"/admin/api-keys/{self.id(key)}/can", 400), ("/admin/api-keys/x/can?right=a.read", 400),
                             ("/admin/api-keys/00000000-0000-4000-8000-000000000000/can?right=a.read", 404),
                             (f"/admin/api-keys/{self.id(key)}/can?right=a.read&address=nowhere", 400)):
            self.assertEqual(self.call("GET", path, None, ADMIN_KEY).status, status, path)

    def run_command(self, *words, text=False):
        done = subprocess.run([self.server.exe, "keys", "can", *words, *([] if text else ["--json"]), "--url", f"http://127.0.0.1:{self.server.port}"],
                              capture_output=True, text=True, cwd=self.server.folder, stdin=subprocess.DEVNULL, timeout=60,
                              env={**self.server.env, "ATHENA_ADMIN_KEY": ADMIN_KEY})
        return done.returncode, done.stdout, done.stderr

    def test_the_command_ends_with_1_for_no(self):
        key = self.key("place.read")
        status, out, err = self.run_command(key.public_id, "read", *self.TABLE, "--client", "app", "--address", "10.1.2.3")
        self.assertEqual((status, json.loads(out)["data"]["allowed"]), (0, True), out + err)
        status, out, err = self.run_command(key.public_id, "write", *self.TABLE)
        self.assertEqual((status, json.loads(out)["data"]["allowed"]), (1, False), out + err)
        status, out, err = self.run_command(self.id(key), "gateway.query", text=True)
        self.assertEqual(status, 1, err)
        self.assertIn("Missing required rights: gateway.query", out)
        self.assertIn("active", out)
        status, out, err = self.run_command("nobody", "gateway.query")
        self.assertEqual(status, 1)
        self.assertIn("nobody", err)
        self.assertNotIn(key.secret, out + err)


class Strict(KeyLab):
    more = "- rights_strict: true\n- rights_protected_schemas: \"athena,sales\"\n"

    def fetch(self, name, *rights):
        return self.call("POST", "/gateway/fetch", table(name), self.key(*rights), "app").status

    def test_D_7_protected_schemas_need_their_name(self):
        for name in ("athena.users", "sales.orders"):
            for granted in ("gateway.read", "gateway.*", "*.read"):
                self.assertEqual(self.fetch(name, granted), 403, (name, granted))
            for granted in ("*", f"{name}.read", f"{name}.*"):
                self.assertEqual(self.fetch(name, granted), 200, (name, granted))
        self.assertEqual(self.fetch("sales.orders", "orders.read"), 403)
        self.assertEqual(self.fetch("place", "gateway.read"), 200)
        self.assertEqual(self.fetch("place", "place.read"), 200)


if __name__ == "__main__":
    unittest.main(verbosity=2)
