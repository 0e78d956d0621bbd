"""The command `analogy completion`, which prints a completion script for a shell."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), required=False)
@click.pass_context
def completion(context: click.Context, shell: str | None) -> None:
    """Print the completion script for a shell (default: your shell).

    \b
    Add the line of your shell to its configuration file:
    bash: eval "$(analogy completion bash)"          in ~/.bashrc
    zsh:  eval "$(analogy completion zsh)"           in ~/.zshrc
    fish: analogy completion fish | source           in ~/.config/fish/config.fish
    """  # noqa: D301 (click needs the control character \b, so the string is not raw)
    from click.shell_completion import get_completion_class

    shell = shell or Path(os.environ.get("SHELL", "")).name
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"your shell is {shell or 'unknown'}; name bash, zsh or fish")
    click.echo(kind(context.find_root().command, {}, "analogy", "_ANALOGY_COMPLETE").source())
