"""What ``tests/conftest.py`` holds every test here to."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .conftest import Project

LEAVING = """
import threading
import pytest

over = threading.Event()

@pytest.fixture(scope="module")
def shared():
    thread = threading.Thread(target=over.wait, name="the fixture's")
    thread.start()
    yield
    over.set()
    thread.join()

def test_shares(shared): pass

def test_leaves(shared):
    threading.Thread(target=over.wait, name="the test's").start()

def test_waits(shared):
    threading.Thread(target=threading.Event().wait, args=[0.01]).start()
"""

INTERRUPTED = '''
import signal
import subprocess
import sys

SAYING = """
import time
try:
    print("here", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
"""

def test_it():
    with subprocess.Popen([sys.executable, "-c", SAYING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "here\\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[0] == "interrupted\\n"
    signal.raise_signal(signal.SIGINT)  # this process goes on ignoring it
'''


@pytest.fixture
def ours(project: Project) -> Project:
    """A project with the conftest of these tests."""
    conftest = Path(__file__).parents[1] / "conftest.py"
    project.pytester.makeconftest(conftest.read_text("utf-8").replace("PATIENCE = 5", "PATIENCE = 0.1"))
    return project


def test_a_thread_that_goes_on_is_an_error_of_its_test_alone(ours):
    ours.test(LEAVING)
    result = ours.run_apart()
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_leaves*", "E *threads of this test go on: the test's"])


def test_a_process_of_a_test_can_be_interrupted_though_the_run_cannot(ours):
    ours.test(INTERRUPTED)
    run = [sys.executable, "-m", "pytest", "-p", "no:randomly"]
    result = ours.pytester.run("sh", "-c", "trap '' INT; exec \"$@\"", "sh", *run, timeout=120)
    result.assert_outcomes(passed=1)
