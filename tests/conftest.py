"""For every test: ranks are never promoted silently; compiled programs are shared, and plain."""

import gc
import importlib.util
import os
import subprocess
import sys
import tempfile

# Processes that tests start compile the same tiny programs: they find them here.
CACHE = tempfile.TemporaryDirectory(prefix="genjax-xla-")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", CACHE.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Tiny programs compile for longer than they run; the tour in CI runs under all optimisations.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Whole functions in one piece, by the emitters that do not go through MLIR: a third of the time.
# An XLA that does not know a flag ends the process, so another process tries them.
FASTER = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"


def known_to_xla(flags):
    command = [sys.executable, "-c", "import jax; jax.devices('cpu')"]
    environment = dict(os.environ, XLA_FLAGS=flags, JAX_PLATFORMS="cpu")
    return subprocess.run(command, env=environment, capture_output=True).returncode == 0


given = os.environ.get("XLA_FLAGS", "")
if "fusion_emitters" not in given and known_to_xla(f"{FASTER} {given}"):
    os.environ["XLA_FLAGS"] = f"{FASTER} {given}".strip()

# Millions of small objects of tracing live on, and every collection walks them all.
gc.set_threshold(100_000, 20, 20)

import hypothesis  # noqa: E402
import jax  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")

# A machine may be busy: how long an example takes says nothing about it.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")

# What cannot be imported without PyTorch; the tests that need it say that they skip.
collect_ignore = [] if importlib.util.find_spec("torch") else ["support/torch_peers.py"]

# Whole files go to one process each: the longest first, so that none is left at the end.
LONGEST = (
    "test_devices.py",
    "test_whole_runs.py",
    "test_contract.py",
    "test_input_pipeline.py",
    "test_compile.py",
)


def pytest_collection_modifyitems(items):
    def place(item):
        return LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST)

    items.sort(key=place)  # stable: all else stays as it was
