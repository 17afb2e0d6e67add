"""Each file that is made, by its path below a `share` directory."""

from __future__ import annotations

import datetime as dt
import json
import os

from click.shell_completion import get_completion_class

from nanod import __version__
from nanod.cli.app import nanod
from nanod.spec.schema import SCHEMA
from tools.man import pages, roff

_PAGES = {
    "man/man1/nanod.1": "User Commands",
    "man/man5/nanod.spec.5": "File Formats",
    "man/man8/nanod-daemon.8": "System Administration",
}
_COMPLETIONS = {
    "bash-completion/completions/nanod": "bash",
    "zsh/site-functions/_nanod": "zsh",
    "fish/vendor_completions.d/nanod.fish": "fish",
}


def made() -> dict[str, str]:
    """Path to text."""
    return {
        **{path: _page(path, group) for path, group in _PAGES.items()},
        **{path: completion(shell) for path, shell in _COMPLETIONS.items()},
        "nanod/nanod.schema.json": json.dumps(SCHEMA, indent=1) + "\n",
    }


def completion(shell: str) -> str:
    found = get_completion_class(shell)
    assert found is not None
    text = found(nanod, {}, "nanod", "_NANOD_COMPLETE").source().rstrip("\n")
    # zsh runs the file as a function when it completes for the first time; click knows that from 8.1.4 on.
    is_late = shell == "zsh" and "loadautofunc" not in text
    return f'{text}\n_nanod_completion "$@"\n' if is_late else f"{text}\n"


def _page(path: str, group: str) -> str:
    name = path.rpartition("/")[2]
    return roff.page(name, pages.markdown(name), date=_date(), version=f"nanod {__version__}", group=group)


def _date() -> str:
    """Reproducible builds say by SOURCE_DATE_EPOCH (reproducible-builds.org) when they are."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    when = dt.datetime.fromtimestamp(int(seconds), dt.UTC) if seconds else dt.datetime.now(dt.UTC)
    return when.date().isoformat()
