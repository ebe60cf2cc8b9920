"""`genjax completion SHELL`: a script with which a shell completes commands, options and names.

    source <(genjax completion bash)           # or zsh, in ~/.bashrc or ~/.zshrc
    genjax completion fish > ~/.config/fish/completions/genjax.fish

Names of weights and files complete the other arguments.
"""

import contextlib
import importlib
import io
import re

from genjax.cli.main import COMMANDS
from genjax.cli.options import ArgumentParser, command
from genjax.families import FAMILIES
from genjax.train.named_weights import weights_names

BASH = """\
_genjax() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="{commands}"
  else
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _genjax genjax
"""
ZSH = "autoload -Uz bashcompinit && bashcompinit\n" + BASH


@command()
def main(argv: list[str]) -> None:
    """Prints the script."""
    parser = ArgumentParser("completion", __doc__)
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    options = parser.parse_args(argv)
    words = {name: completions(name) for name in COMMANDS}
    print(fish(words) if options.shell == "fish" else bash(words, options.shell), end="")


def completions(name: str) -> list[str]:
    """Returns the words that may follow a command: its options, and names where it takes a run."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        importlib.import_module(f"genjax.cli.{name}").main(["--help"])
    options = re.findall(r"(?<![\w-])--[a-z][\w.-]*", text.getvalue())
    named = list(FAMILIES) if name == "train" else []
    if re.search(r"^ +(workdir|RUN)\b", text.getvalue(), re.MULTILINE):
        named = weights_names()
    return [*dict.fromkeys(option.rstrip(".-") for option in options), *named]


def bash(words: dict[str, list[str]], shell: str) -> str:
    """Returns the script for bash or zsh; without a word of the list, files complete."""
    cases = "\n".join(f'      {name}) words="{" ".join(w)}" ;;' for name, w in words.items())
    return {"bash": BASH, "zsh": ZSH}[shell].format(commands=" ".join(words), cases=cases)


def fish(words: dict[str, list[str]]) -> str:
    """Returns the script for fish."""
    lines = [
        f"complete -c genjax -n __fish_use_subcommand -f -a {name} -d '{summary}'"
        for name, summary in COMMANDS.items()
    ]
    for name, found in words.items():
        seen = f"'__fish_seen_subcommand_from {name}'"
        for word in found:
            what = f"-l {word[2:]}" if word.startswith("--") else f"-a {word}"
            lines.append(f"complete -c genjax -n {seen} {what}")
    return "\n".join(lines) + "\n"
