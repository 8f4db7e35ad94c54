"""API keys written by SQL, as any program with the same tables would write them (auth.md 4.1, 10)."""
import hashlib
import os
import secrets

from lab import wait_for

STEPS = f"{os.path.dirname(os.path.abspath(__file__))}/../../core/control/sql/auth"


def text(value):
    return "null" if value is None else "'" + str(value).replace("'", "''") + "'"


class Key:
    def __init__(self, public_id, secret):
        self.public_id, self.secret = public_id, secret

    def __str__(self):
        return f"ath_{self.public_id}.{self.secret}"


class KeyStore:
    """The tables must be there: a server that bootstraps its schema makes them (`wait` until it has), or `athena migrate up`."""

    def __init__(self, pg, database):
        self.pg, self.database = pg, database

    def run(self, sql):
        return self.pg.run(sql, self.database).strip()

    def wait(self):
        """Not for one table alone: who writes while the steps go on may lock tables the other way round than they do."""
        steps = len({name.split("_")[0] for name in os.listdir(STEPS)})
        wait_for("the key store is there", 60, lambda: self.run("select to_regclass('athena_schema_version')") != ""
                 and self.run("select count(*) from athena_schema_version where component = 'auth'") == str(steps))

    def tell(self):
        """What every program that changes these tables says in the same transaction."""
        return "; select pg_notify('athena_auth_changed', '')"

    def add(self, name="k", rights=(), client=None, expires=None, active=True, white=(), black=(), key=None, **columns):
        """`expires`: an SQL expression, "now() - interval '1 hour'". `key`: that one. Other columns by their names."""
        return self.add_many(1, name, rights, client, expires, active, white, black, [key] if key else None, **columns)[0]

    def add_many(self, n, name="k", rights=(), client=None, expires=None, active=True, white=(), black=(), keys=None, **columns):
        keys = keys or [Key(secrets.token_hex(8), secrets.token_hex(32)) for _ in range(n)]
        more = "".join(f", {c}" for c in columns)
        values = "".join(f", {text(v)}" for v in columns.values())
        sql = "begin;"
        if rights:
            sql += "insert into api_key_rights (name) values " + ", ".join(f"({text(r)})" for r in rights) + " on conflict (name) do nothing;"
        for key in keys:
            salt = secrets.token_hex(32)
            digest = hashlib.sha256(f"{salt}:{key.secret}".encode()).hexdigest()
            sql += (f"insert into api_keys (public_id, name, key_salt, key_hash, client_name, expires_at, is_active{more}) values"
                    f" ({text(key.public_id)}, {text(name)}, {text(salt)}, {text(digest)}, {text(client)}, {expires or 'null'}, {active}{values});")
        of = "(" + ", ".join(text(k.public_id) for k in keys) + ")"
        if rights:
            sql += ("insert into api_key_right_grants (api_key_id, right_id) select k.id, r.id from api_keys k, api_key_rights r"
                    f" where k.public_id in {of} and r.name in ({', '.join(map(text, rights))});")
        for table, networks in (("whitelist", white), ("blacklist", black)):
            for network in networks:
                sql += f"insert into api_key_ip_{table} (api_key_id, addr) select id, {text(network)}::cidr from api_keys where public_id in {of};"
        self.run(sql + "select pg_notify('athena_auth_changed', ''); commit;")
        return keys

    def enforce(self, on, client=None):
        """For one client, or for all that have no row of their own."""
        if client is not None:
            sql = (f"insert into api_key_client_config (client_name, enforce_api_keys) values ({text(client)}, {on})"
                   f" on conflict (client_name) do update set enforce_api_keys = {on}, updated_at = now()")
        else:
            sql = (f"insert into api_key_config (api_key_config_id, enforce_api_keys) values ('00000000-0000-0000-0000-000000000000', {on})"
                   f" on conflict (api_key_config_id) do update set enforce_api_keys = {on}, updated_at = now()")
        self.run(sql + self.tell())

    def change(self, key, **columns):
        self.run(f"update api_keys set {', '.join(f'{c} = {text(v)}' for c, v in columns.items())}, updated_at = now()"
                 f" where public_id = {text(key.public_id)}" + self.tell())

    def remove(self, key):
        self.run(f"delete from api_keys where public_id = {text(key.public_id)}" + self.tell())
