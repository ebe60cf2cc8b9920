"""The error of a run that is not finite: what it was, and how to continue."""

from collections.abc import Sequence

from genjax.train.run_context import RunContext


class Diverged(FloatingPointError):
    """A metric or the validation loss is not finite.

    Attributes:
      saved: step of the newest checkpoint, which is from before it; None if there is none.
      options: further options of a run that begins with its weights.
      what: is not finite.
      fix: settings to change.
      phase: number of the earlier phase that it happened in; 0 for the run itself.
    """

    def __init__(
        self,
        message: str,
        saved: int | None,
        *,
        what: str = "",
        fix: str = "",
        phase: int = 0,
        options: Sequence[str] = (),
    ):
        super().__init__(message)
        self.saved, self.what, self.fix, self.phase = saved, what, fix, phase
        self.options = options

    def in_phase(self, number: int) -> "Diverged":
        """Returns the error of the run whose phase diverged; options do not change that one."""
        if self.phase:
            return self
        place = "" if self.saved is None else " and use another --workdir"
        message = f"phase {number}: {self.what}; in `phases` of the recipe, {self.fix}{place}."
        return Diverged(message, self.saved, what=self.what, fix=self.fix, phase=number)


def run_diverged(context: RunContext, what: str, fix: str) -> Diverged:
    """Returns the error of a run that is not finite; checkpoints keep the settings as they are.

    Args:
      context: of the run.
      what: is not finite.
      fix: settings to change.
    """
    checkpoints, run = context.checkpoints, context.run
    checkpoints.wait()
    saved = max([*checkpoints.steps(), *checkpoints.steps("best")], default=None)
    if saved is None:
        message = f"{what}; nothing was saved from before it; {fix}."
        return Diverged(message, None, what=what, fix=fix)
    weights, options = "", context.layouts.options_from(saved)
    if not run.phases and context.family.traits(run.model).fit != "counting":
        flags = " ".join(["--weights-from", str(context.workdir), *options])
        weights = f", with {flags} to begin with its weights"
    return Diverged(
        f"{what}; the checkpoint of step {saved} is from before it; {fix}, in another"
        f" --workdir{weights}.",
        saved,
        what=what,
        fix=fix,
        options=options,
    )
