"""What verbs are made of: a command with examples, and the arguments and options that more than one verb takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from nanod.cli.scope import USER, current
from nanod.errors import NanodError, UsageError
from nanod.steps import Again
from nanod.units.directives import OLDEST
from nanod.values import TimeSpan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def again(*, redeploy: bool, rebuild: bool) -> Again:
    """What `--redeploy` and `--rebuild` ask for."""
    return Again.ALL if rebuild else Again.REDEPLOY if redeploy else Again.NOTHING


class Verb(click.Command):
    """A command whose help ends with examples."""

    def __init__(self, *args: Any, examples: Sequence[str], for_users: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples
        if for_users:
            self.params.append(USER)

    def invoke(self, ctx: click.Context) -> Any:
        """Raises UsageError for --user before a verb that is not for users."""
        if USER not in self.params and current(ctx).is_user:
            raise UsageError(f"cannot {self.name} with --user: that is for the whole machine", hint=f"nanod {self.name} --help")
        try:
            return super().invoke(ctx)
        except NanodError as refused:
            refused.hint = current(ctx).worded(refused.hint)
            raise

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Example" if len(self.examples) == 1 else "Examples"):
            for line in self.examples:
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def verb(name: str, *examples: str, hidden: bool = False, for_users: bool = True) -> Callable[[Callable[..., int]], click.Command]:
    """Make a verb of a function that returns the exit code. `for_users`: it takes `--user`."""
    return click.command(name, cls=Verb, examples=examples, hidden=hidden, for_users=for_users)


class AppName(click.ParamType):
    name = "app"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        del param
        try:
            names = sorted(path.name for path in Path(current(ctx).apps).iterdir())
        except OSError:
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class SpecOrApp(click.Path):
    """A file, or the name of an app: files are offered where no app is meant."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return AppName().shell_complete(ctx, param, incomplete) or super().shell_complete(ctx, param, incomplete)


class Span(click.ParamType):
    """A time span in systemd's words, as in a spec."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> TimeSpan:
        if isinstance(value, TimeSpan):
            return value
        try:
            return TimeSpan.parse(value)
        except ValueError as wrong:
            self.fail(str(wrong), param, ctx)


SPEC = click.argument("spec", type=click.Path(allow_dash=True))
APP = click.argument("app", type=AppName())
ENV = click.option("-e", "--env", metavar="ENV", help="Take the overlay ENV of `environments`; the app is named PROJECT-ENV.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, also for errors.")
SYSTEMD_VERSION = click.option(
    "--systemd-version",
    "version",
    type=click.IntRange(min=OLDEST),
    metavar="N",
    help=f"Compile for systemd N, {OLDEST} or newer; default: the one installed here.",
)
TAKE_OVER = click.option("--take-over", is_flag=True, help="Take an app over from a spec in another place, as after a move.")
FORCE = click.option("--force", is_flag=True, help="Also take away what services of other apps require.")
UNIT_DIR = click.option(
    "--unit-dir", type=click.Path(file_okay=False), metavar="DIR", help="Where unit files go; default: /etc/systemd/system, or the user's own."
)
REDEPLOY = click.option("--redeploy", is_flag=True, help="Run post_deploy hooks also where nothing has changed.")
REBUILD = click.option("--rebuild", is_flag=True, help="Build every release anew, and run its deploy hooks, also where nothing has changed.")
SETTLE = click.option("--settle", type=Span(), metavar="TIME", help="How long what was started must stay up; default: as the spec says.")
EXPECT = click.option("--expect", metavar="TOKEN", help="Refuse when the plan is not the one that TOKEN was printed with.")
NO_ROLLBACK = click.option("--no-rollback", is_flag=True, help="Leave what was done when it fails, instead of putting back what there was.")
LOCK_TIMEOUT = click.option(
    "--lock-timeout", type=Span(), metavar="TIME", default="60s", show_default=True, help="How long to wait for another nanod to finish."
)
