"""Settings of all tests: no rank promotion, a shared compilation cache, few optimisations."""

import contextlib
import ctypes
import gc
import importlib.util
import os
import subprocess
import sys
import tempfile

# Shared with the processes that tests start, which compile the same programs.
CACHE = tempfile.TemporaryDirectory(prefix="genjax-xla-")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", CACHE.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Small programs take longer to compile than to run; the tour in CI runs with all optimisations.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Commands that tests call in this process do not change its memory: a worker would keep all of it.
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.tcache_count=7")  # the default
# Compile in a third of the time. XLA aborts on flags it does not support, so they are tried in
# another process.
# The sequential schedule: with 8 virtual devices on few cores, collectives of a program that are
# ready at the same time may wait for each other forever.
XLA_FLAGS = (
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    " --xla_cpu_enable_concurrency_optimized_scheduler=false"
)


def xla_supports(flags):
    command = [sys.executable, "-c", "import jax; jax.devices('cpu')"]
    environment = dict(os.environ, XLA_FLAGS=flags, JAX_PLATFORMS="cpu")
    return subprocess.run(command, env=environment, capture_output=True).returncode == 0


user_flags = os.environ.get("XLA_FLAGS", "")
if "fusion_emitters" not in user_flags and xla_supports(f"{XLA_FLAGS} {user_flags}"):
    os.environ["XLA_FLAGS"] = f"{XLA_FLAGS} {user_flags}".strip()

# Tracing leaves millions of live objects, which make each garbage collection slow.
gc.set_threshold(100_000, 20, 20)

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")

# No deadline: the machine may be busy.
hypothesis.settings.register_profile("genjax", deadline=None)
hypothesis.settings.load_profile("genjax")

# Not importable without PyTorch; tests that need it are skipped.
collect_ignore = [] if importlib.util.find_spec("torch") else ["support/torch_peers.py"]


MOST = float(os.environ.get("GENJAX_TEST_MEMORY", 2.5e9))
"""Bytes of a process above which compiled programs are freed after a file of tests."""


def resident_bytes():
    """Returns the memory of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@pytest.fixture(scope="module", autouse=True)
def _objects_of_earlier_files_are_no_garbage():
    """A collection, such as one after an error of a checkpoint, looks at the new objects alone."""
    gc.freeze()
    yield
    gc.unfreeze()
    if resident_bytes() > MOST:
        jax.clear_caches()  # compiled programs; what is needed again is in the cache on disk
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):  # only glibc has it
            ctypes.CDLL(None).malloc_trim(0)


# Files are distributed over processes: the slowest go first, so that none runs alone at the end.
SLOWEST_FILES = (
    "test_devices.py",
    "test_whole_runs.py",
    "test_contract.py",
    "test_input_pipeline.py",
    "test_compile.py",
)


def pytest_collection_modifyitems(items):
    def rank(item):
        name = item.path.name
        return SLOWEST_FILES.index(name) if name in SLOWEST_FILES else len(SLOWEST_FILES)

    items.sort(key=rank)  # stable: other files keep their order
