import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("store_fuzz.py")


def fuzz(folder, seed, number, limit):
    command = [sys.executable, "-X", "faulthandler", str(SCRIPT), str(folder), str(seed), str(number)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    last = ended.stdout.splitlines()[-1:]
    assert ended.returncode == 0, f"{last}: {ended.stderr[-2000:]}"
    refused = int(last[0].split(", ")[-1].split()[0])
    # Some damage hits bytes that mean nothing, but most must be noticed.
    assert number // 2 < refused < number


def test_a_damaged_store_is_refused_by_name_or_read_as_what_it_was(tmp_path):
    fuzz(tmp_path, 0, 600, 120)


@pytest.mark.slow
def test_five_thousand_damaged_stores_are_refused_by_name_or_read_as_what_they_were(tmp_path):
    fuzz(tmp_path, 10_000, 5000, 500)
