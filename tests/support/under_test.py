"""Which build the tests drive, from the environment that tools/run_tests.py sets. `DUNLIN_*` also configures the server itself, which refuses
variables that it does not know: so programs under test are started with CLEAN_ENVIRONMENT."""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("DUNLIN_BINARY", ROOT / "build" / "release" / "dunlin")).resolve()
ECHO = pathlib.Path(os.environ.get("DUNLIN_ECHO", BINARY.parent / "dunlin-echo")).resolve()
SANITIZER = os.environ.get("DUNLIN_SANITIZER", "")
ENGINE = os.environ.get("DUNLIN_TEST_ENGINE", "embedded")
CRASH_RUNS = int(os.environ.get("DUNLIN_CRASH_RUNS", "30"))
CRASH_SEED = os.environ.get("DUNLIN_CRASH_SEED")
DRIVER_SEED = os.environ.get("DUNLIN_DRIVER_SEED")  # of tests/e2e/test_driver.py: this one
DRIVER_SEEDS = int(os.environ.get("DUNLIN_DRIVER_SEEDS", "1"))  # or so many, from 1 on
CLEAN_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("DUNLIN_")}
