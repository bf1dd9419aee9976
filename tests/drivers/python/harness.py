"""Runs a driver's scenarios and prints one line for each.

Where PostgreSQL or the pooler is, libpq's own variables say: PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE. Through
the pooler that user's pool has three server connections. HOLDER may have as many as it likes: scenarios whose
clients need a server connection for as long as they live log in as that user.
"""

import asyncio
import inspect
import signal
import sys
import traceback

SERVER_CONNECTIONS = 3
HOLDER = {"user": "holder", "password": "holder"}

# what must not wait for ever: a reply that never comes is the worst that a pooler can do
PATIENCE = 60

SCENARIOS = []


def scenario(function):
    """Registers a function, whose name is the scenario's."""
    SCENARIOS.append(function)
    return function


def equal(got, wanted):
    """Fails with both values."""
    assert got == wanted, f"got {got!r:.300}, wanted {wanted!r:.300}"


class fails:
    """Demands that its block ends in an error with this SQLSTATE."""

    def __init__(self, sqlstate):
        self.sqlstate = sqlstate

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is None:
            raise AssertionError(f"no error, wanted {self.sqlstate}")
        got = getattr(error, "sqlstate", None) or getattr(getattr(error, "orig", None), "sqlstate", None)
        if got is None:
            return False
        self.error = error
        equal(got, self.sqlstate)
        return True


def main(only):
    """Runs all scenarios, or those named; the exit code."""
    signal.signal(signal.SIGALRM, too_long)
    failed = 0
    for function in SCENARIOS:
        if only and function.__name__ not in only:
            continue
        signal.alarm(PATIENCE)
        try:
            if inspect.iscoroutinefunction(function):
                asyncio.run(function())
            else:
                function()
            print(f"ok {function.__name__}", flush=True)
        except Exception as error:
            failed += 1
            place = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in place if frame.filename == inspect.getfile(function)]
            line = ours[-1].lineno if ours else place[-1].lineno
            text = " ".join(str(error).split())
            print(f"FAILED {function.__name__}: line {line}: {type(error).__name__}: {text}", flush=True)
        signal.alarm(0)
    return 1 if failed else 0


def too_long(*_):
    raise TimeoutError(f"not done after {PATIENCE} s")


def run():
    sys.exit(main(sys.argv[1:]))
