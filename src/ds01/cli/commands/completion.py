"""`ds01 completion`: the lines by which a shell asks `ds01 __complete` when the Tab key is pressed."""

from importlib.resources import files

from ds01.cli.call import Call
from ds01.cli.spec import Argument, Spec
from ds01.errors import InvalidRequestError

SHELLS = ("bash", "zsh", "fish")


def print_completion(call: Call) -> int:
    """Print the completion for a shell."""
    shell = call.text("shell")
    if shell not in SHELLS:
        what = "Which shell?" if shell is None else f"There is no completion for {shell!r}."
        raise InvalidRequestError(what, hint=f"Write one of: {', '.join(f'ds01 completion {name}' for name in SHELLS)}")
    call.screen.data((files("ds01.cli.commands") / "shells" / f"ds01.{shell}").read_text(encoding="utf-8").rstrip())
    return 0


COMPLETION = Spec(
    print_completion,
    examples=(
        'eval "$(ds01 completion bash)"  in ~/.bashrc',
        'eval "$(ds01 completion zsh)"  in ~/.zshrc, after compinit',
        "ds01 completion fish | source  in ~/.config/fish/config.fish",
    ),
    arguments=(Argument("shell", shown="bash|zsh|fish", completes="shell"),),
)
