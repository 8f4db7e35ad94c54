"""The write buffer's part of the recording of jobs: the lines with deferred_writes on, each group (by its `setup`) on a server of its own."""
import jobs
import wire

# The recording's batch_max_size of 3 did nothing (D-23); here it would flush at moments of its own.
WRITES = "deferred_writes:\n- enabled: true\n- batch_window_ms: 60000\n- batch_max_size: 0\n- wal_dir: \"{wal}\"\n"
PRIVATE = "- jdbc_allow_private_hosts: true\n"
# IDs that begin so, what their setup has and has not, the section gateway.
GROUPS = [
    (("writes.",), "products id is bigint", "was killed", ""),
    (("writes.",), "was killed", None, ""),
    (("direct.update", "direct.delete", "direct.flush"), "jdbc_allow_private", None, PRIVATE),
]
# Marked with the defect of the lines around it, which it does not have.
NO_DEFECT = "writes.flush-wrong-method"


def play(tests):
    explanations, lines = wire.Explanations("jobs-writes"), wire.recorded("jobs")
    databases = {name: f"writes_{name}" for name in ("log", "app")} | {"two": "t_two"}
    for name in databases.values():
        tests.database(name)
    for number, (begins, has, has_not, gateway) in enumerate(GROUPS):
        mine = [{k: v for k, v in n.items() if k != "defect" or n["id"] != NO_DEFECT} for n in lines
                if n["id"].startswith(begins) and has in n["setup"] and not (has_not and has_not in n["setup"])]
        for name in ("app", "two"):
            tests.sql(databases[name], wire.state("jobs"), "-v", "shop=1")
        config = WRITES.format(wal=tests.lab.place("wal")) + jobs.BASE.format(log="athena_logging", auth="athena_logging", gateway=jobs.PUBLIC + gateway)
        config += "".join(f"- {client}: postgres://postgres@127.0.0.1:{tests.port}/{databases[name]}\n"
                          for client, name in (("athena_logging", "log"), ("shop", "app"), ("two", "two")))
        server = tests.lab.athena({}, config=config, exe=tests.exe, env={"ATHENA_KEY_12": jobs.KEY})
        jobs.wait_for("the databases are connected", 20, lambda: server.get("/ready").json["clients"]["connected"] >= 3)
        jobs.wait_for_queue(tests, databases["log"])
        wire.play("jobs", server, tests.score, lambda database, sql: None, mine, lambda line: None, explanations, [("{PG}", f"127.0.0.1:{tests.port}")], {})
        server.stop()
    tests.score.check("jobs-writes/explanations", explanations.stale())
