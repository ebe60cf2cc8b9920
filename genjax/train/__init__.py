"""From a step to a run: compile, loop, checkpoints, records, the command line."""

from genjax.data.tokenizers import load_tokenizer
from genjax.train.compile import compile_step, make_mesh, state_shardings
from genjax.train.hooks import Hook
from genjax.train.load_run import load
from genjax.train.loop import Result, fit
from genjax.train.named_runs import load_ranker
from genjax.train.named_weights import weights_names
from genjax.train.rate_selection import Trial, best, select
from genjax.train.run_config import Figure, Phase, Run, Train
from genjax.train.trained_model import Pretrained, from_pretrained

__all__ = [
    "Figure",
    "Hook",
    "Phase",
    "Pretrained",
    "Result",
    "Run",
    "Train",
    "Trial",
    "best",
    "compile_step",
    "fit",
    "from_pretrained",
    "load",
    "load_ranker",
    "load_tokenizer",
    "make_mesh",
    "select",
    "state_shardings",
    "weights_names",
]
