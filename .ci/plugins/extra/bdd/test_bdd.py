"""Steps that request fixtures while they run: one scenario passes, one must fail from its recording."""

from __future__ import annotations

from market import REPLAYING
from pytest_bdd import scenario, then, when


@scenario("status.feature", "Connex is healthy")
def test_scenario():
    pass


@scenario("status.feature", "Something else is asked")
def test_another_scenario():
    pass


@when("I ask for the status", target_fixture="status")
def ask(connex_rest):
    return connex_rest.get("/v1/status").json()["status"]


@when("I ask for something else")
def ask_for_something_else(connex_rest):
    connex_rest.get("/v1/symbols" if REPLAYING else "/v1/status")


@then("it is healthy")
def healthy(status):
    assert status == "healthy"
