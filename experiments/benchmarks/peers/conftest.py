"""Where PyTorch is not installed its users' code is not collected."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["[a-z]*.py"]
