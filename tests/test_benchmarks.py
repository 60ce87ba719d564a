import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "versus_bptt.py"


@pytest.mark.bench
@pytest.mark.slow
def test_the_benchmark_runs_at_small_sizes_and_prints_its_tables():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--repeats", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for heading in ("## Targets", "## LIF", "## ALIF", "## Peak memory"):
        assert heading in done.stdout
