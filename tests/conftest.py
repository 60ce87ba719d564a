"""What every test may rely on: the backend, Hypothesis's profile and the shared data folder."""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

# Before anything imports jax or matplotlib: neither a GPU nor a display may change a result.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")
# What was measured on this machine must not choose which code a test runs.
os.environ["SNNTRACE_COSTS"] = os.devnull

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SNNTRACE_SHARED", ROOT.parent / "shared")).resolve()

# Compiling takes longer than Hypothesis's default deadline; a fixed seed keeps a red run repeatable.
hypothesis.settings.register_profile("snntrace", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.load_profile("snntrace")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked `shared` where the folder is absent, and say which folder was looked for."""
    if SHARED.is_dir():
        return
    skip = pytest.mark.skip(reason=f"no shared data at {SHARED} (set SNNTRACE_SHARED)")
    for item in items:
        if "shared" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared data folder; a test that asks for it is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no shared data at {SHARED} (set SNNTRACE_SHARED)")
    return SHARED


@pytest.fixture
def files_up_to() -> Callable[[int], AbstractContextManager[None]]:
    """Let no file become longer than so many bytes, which is what a full disk looks like."""

    @contextmanager
    def limit(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit


@pytest.fixture
def cheap_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the event path be estimated to cost nothing, so that it is taken for whatever comes as lists."""
    from snntrace.costs import DEFAULT, Costs, store

    monkeypatch.setenv("SNNTRACE_COSTS", str(tmp_path / "costs.json"))
    store(Costs((0.0,) * len(DEFAULT.event), (1e-12,) * len(DEFAULT.dense), "assumed by a test"))
