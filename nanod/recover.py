"""Finish what a transaction that was cut off has left: by the next command, or at boot before anything of the app has started.

Committed: only the intent is left, and goes. Decided (a removal that deletes data): the rest goes too. Anything else: back to what there was.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from nanod.errors import NanodError
from nanod.execute import file_step
from nanod.faults import Point, reach
from nanod.restore import Now, restore_steps
from nanod.steps import FileStep
from nanod.transaction import unmark
from nanod.undo import Undone, finish, undo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nanod.host import Host, Releases, Store
    from nanod.settle import Progress
    from nanod.state import Intent


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What was done about one intent, `how` in words; `undone` when the way back was taken."""

    intent: Intent
    how: str
    undone: Undone | None = None
    goes_on: bool = False
    """The new generation is in force, although not all of it was done."""


def recover(intent: Intent, host: Host, tell: Callable[[Progress], None]) -> Recovered:
    """With a systemd that runs. `host.store` is that of the intent's unit directory. Raises NanodError when the disk refuses."""
    if done := _without_undoing(intent, host.store, host.releases):
        if done.goes_on:
            with suppress(NanodError):  # what cannot be started now is told by the next apply
                host.systemd.start(f"{intent.app}.target")
            _record(done, host.store, ())
        return done
    undone = undo(intent, host, tell=tell)
    recovered = Recovered(intent=intent, how=_back_to(intent), undone=undone)
    if undone.is_over:
        _record(recovered, host.store, undone.problems)
    return recovered


class Early(Protocol):
    """As much of systemd as there is before D-Bus: systemctl on PID 1's private socket. Nothing waits for a job, the boot's own are still queued."""

    def daemon_reload(self) -> None: ...
    def start_no_block(self, unit: str) -> None: ...
    def has_job(self, unit: str) -> bool: ...


def recover_at_boot(
    intents: Mapping[str, Intent], store_of: Callable[[Intent], Store], releases: Releases, systemctl: Early
) -> tuple[list[Recovered], list[NanodError]]:
    """Files alone: nothing of an app runs yet. What was done, and what the disk or systemd refused: that stays for the next command.

    Units that the boot has already queued take what they are from the new definitions after the reload; newly wanted ones are not in its
    transaction, so the target is started once more (tried on 252 and 257).
    """
    found: list[Recovered] = []
    refusals: list[NanodError] = []
    restored = []
    for intent in intents.values():
        if intent.decided:
            # Deleting data may take long, and its file system may not be mounted yet: that waits for the next command.
            continue
        try:
            if done := _restored_at_boot(intent, store_of(intent), releases):
                found.append(done)
            else:
                restored.append(intent)
        except NanodError as refused:
            refusals.append(refused)
    try:
        if restored:
            systemctl.daemon_reload()
            reach(Point.RELOADED)
    except NanodError as refused:
        return found, [*refusals, refused]
    for intent in restored:
        try:
            # Before the intent goes: who is killed in between leaves nothing undone that nobody knows of.
            refusals += _start_again(intent, store_of(intent), systemctl)
            finish(intent, store_of(intent))
            recovered = Recovered(intent=intent, how=f"{_back_to(intent)}, at boot")
            found.append(recovered)
            _record(recovered, store_of(intent), ())
        except NanodError as refused:
            refusals.append(refused)
    return found, refusals


def _start_again(intent: Intent, store: Store, systemctl: Early) -> list[NanodError]:
    """The target of an app that is enabled, in a boot that goes all the way: rescue.target pulls in sysinit.target as well."""
    target = f"{intent.app}.target"
    if not store.read_links([f"{store.scope.boot}.wants/{target}"]) or not systemctl.has_job(store.scope.boot):
        return []
    try:
        systemctl.start_no_block(target)
    except NanodError as refused:  # a mask, say: all is as it was all the same
        return [refused]
    return []


def _restored_at_boot(intent: Intent, store: Store, releases: Releases) -> Recovered | None:
    """Put its files back; hands back what was done instead when there is nothing to undo."""
    store.sweep()
    if done := _without_undoing(intent, store, releases):
        return done
    for step in restore_steps(intent, _before_boot(intent, store)):
        if isinstance(step, FileStep):
            file_step(store, step)
    store.sync()
    return None


def _without_undoing(intent: Intent, store: Store, releases: Releases) -> Recovered | None:
    if intent.decided:
        for path in intent.purge:
            store.delete_tree(path)
            reach(Point.PURGED)
        store.forget(intent.app)
        return Recovered(intent=intent, how="removed it with its data")
    if intent.is_committed(store.in_force(intent.app)):
        manifest = store.manifest(intent.app)
        releases.switch(intent.app, manifest.releases if manifest else {})
        store.clear_intent(intent.app)
        unmark(intent.app, store)
        reach(Point.CLEARED)
        return Recovered(intent=intent, how=f"generation {intent.generation} was in force already")
    if intent.generation and store.existing([store.scope.irreversible_mark(intent.app)]):
        return _forward(intent, store, releases)
    return None


def _forward(intent: Intent, store: Store, releases: Releases) -> Recovered:
    """A hook has run that nobody can take back: the new generation is in force. Which of its processes run, the next apply will see to."""
    manifest, _, _ = store.generation(intent.app, intent.generation)
    open_units = {*intent.files, *intent.units}
    manifest = replace(manifest, units={name: "" if name in open_units else content for name, content in manifest.units.items()})
    store.commit(manifest)
    releases.switch(intent.app, manifest.releases)
    store.clear_intent(intent.app)
    unmark(intent.app, store)
    reach(Point.CLEARED)
    how = f"generation {intent.generation} is in force, for an irreversible hook of it has run; 'nanod apply' does what is left to do"
    return Recovered(intent=intent, how=how, goes_on=True)


def _before_boot(intent: Intent, store: Store) -> Now:
    return Now(
        files=store.read_units(intent.files),
        links=store.read_links(intent.links),
        there=frozenset(store.existing([*intent.stamps, *intent.new_stamps, *intent.directories])),
        states={},
        invocations={},
    )


def _back_to(intent: Intent) -> str:
    return f"back to generation {intent.before}" if intent.before else "it is not there, as before"


def _record(recovered: Recovered, store: Store, problems: tuple[str, ...]) -> None:
    intent = recovered.intent
    entry: dict[str, object] = {
        "action": "recover",
        "generation": intent.generation,
        "verdict": "recovered" if not problems else "degraded",
        "interrupted": {"action": intent.action, "at": intent.at, "command": intent.command},
        "rolled_back_to": None if recovered.goes_on else intent.before,
        "problems": list(problems),
    }
    store.record(intent.app, entry)


def words(recovered: Recovered) -> str:
    """`an apply of shop that was cut off is undone: back to generation 3`."""
    intent = recovered.intent
    article = "an" if intent.action == "apply" else "a"
    end = "is undone" if recovered.undone or recovered.how.startswith(("back", "it is")) else "is finished"
    return f"{article} {intent.action} of {intent.app} that was cut off {end}: {recovered.how}"
