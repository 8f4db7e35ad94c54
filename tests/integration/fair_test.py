#!/usr/bin/env python3
"""One client that asks for two seconds of work hundreds of times at once, and fifty that read a row now and then: the
fifty must not notice. With pool.fair: false they do, so the test can fail."""
import os
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from crowd import SCHEMA, Crowd, percentile  # noqa: E402
from lab import Lab, wait_for  # noqa: E402

LIGHT = [f"light{i}" for i in range(50)]
BUDGET = 60
POOL = "pool:\n  budget: {}\n  max_connections: 500\n  acquire_timeout: 8s\n  fair: {}\nserver:\n  loops: 2\ncache:\n  enabled: false\n"


class FairTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg = cls.lab.postgres(settings=[f"max_connections={3 * BUDGET}"])
        cls.pg.run("create database app")
        cls.pg.run(SCHEMA, "app")

    def server(self, fair, budget=BUDGET):
        return self.lab.athena({name: self.pg.uri("app") for name in [*LIGHT, "heavy"]}, more=POOL.format(budget, fair))

    def metric(self, server, name):
        return next(float(line.split()[-1]) for line in server.get("/metrics").body.splitlines() if line.startswith(name + " "))

    def crowded(self, server):
        """Point reads while the heavy one is there: when they begin, and when all have their connections."""
        with Crowd(server) as crowd:
            crowd.abuse("heavy", 300)
            crowd.rest(3)
            first = crowd.light(LIGHT, 1.5, every=0.2)
            then = crowd.light(LIGHT, 2, every=0.2)
            self.assertEqual(set(crowd.answers) - {200, 503}, set())  # 503: its own line is too long
        return first, then, crowd.refused

    def test_light_clients_do_not_wait_for_heavy_queries(self):
        server = self.server("true")
        first, then, refused = self.crowded(server)
        self.assertEqual(refused, {})
        self.assertLess(percentile(first, 0.5), 500)
        self.assertLess(max(first), 1900)  # nobody has waited for a query of two seconds
        self.assertLess(percentile(then, 0.99), 500)
        self.assertGreater(self.metric(server, 'athena_pg_budget_decisions_total{decision="reserve"}'), 0)
        self.assertEqual(self.metric(server, "athena_pg_budget_reserve"), BUDGET // 4)
        wait_for("nobody waits any more", 10, lambda: self.metric(server, "athena_pg_budget_waiting_pools") == 0)
        wait_for("all is given back in time", 10, lambda: self.metric(server, "athena_pg_budget_used") <= BUDGET)
        server.stop()

    def test_without_turns_they_do(self):
        server = self.server("false")
        first, then, refused = self.crowded(server)
        self.assertTrue(refused or max(first + then) > 1900)
        server.stop()

    def test_the_heavy_one_gets_what_the_others_leave(self):
        """Idle connections of others are closed for it, up to the reserve."""
        server = self.server("true", budget=40)
        with Crowd(server) as crowd:
            crowd.light(LIGHT, 1, every=0.2)
            crowd.abuse("heavy", 100)
            sleeping = "select count(*) from pg_stat_activity where query like '%slept%' and state = 'active' and pid <> pg_backend_pid()"

            def busy():
                crowd.rest(0.2)
                return int(self.pg.run(sleeping, "app")) >= 28
            wait_for("three quarters of the budget are the heavy one's", 20, busy)
        server.stop()


if __name__ == "__main__":
    unittest.main(verbosity=2)
