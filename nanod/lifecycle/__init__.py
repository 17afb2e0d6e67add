"""The lifecycle that units give a service from outside, inside of its process: hooks around start, reload and stop, told to systemd.

    life = Lifecycle(shutdown_timeout=30.0, control="/run/shop/control")

    @life.on_start                      # in order, before anything serves; the first error ends it
    def open_database(): ...

    @life.on_ready                      # once READY=1 is said, beside the service; errors are logged
    def warm_cache(): ...

    @life.on_reload(name="levels")      # SIGHUP or life.reload(): in order; an error stops the rest, and what was keeps in force
    def read_levels(): ...

    @life.on_shutdown(undoes=open_database)     # last registered first, with one deadline for all
    def close_database(): ...

    @life.on_stop                       # at the very end, each of them, without a deadline
    def flush_logs(): ...

Three ways to serve; hooks are the same, and run in the main thread:

    sys.exit(life.run(server.serve_forever))    # any function that blocks, in a thread of its own; without one: wait for the end
    sys.exit(life.run_loop(loop))               # a loop of one's own, in the main thread, which takes turns with the lifecycle
    sys.exit(asyncio.run(life.serve(main)))     # asyncio; hooks may be async there

    def loop(turn: Turn) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(turn, selectors.EVENT_READ)       # becomes readable when there is something to do
            while turn():                                       # does it: reload hooks, WATCHDOG=1, …; False when it is time to end
                for key, _ in selector.select(turn.timeout):    # seconds or None
                    ...

While it runs:

    life.reload()           # waits until the hooks have run; raises ReloadError. In a loop: at once, between two turns. `await life.reload_async()`
    life.stop()             # asks for the end; from any thread or signal handler, any number of times
    life.status("words")    # STATUS=, as `systemctl status` shows it
    life.spawn(function)    # a background task, which the end of the service waits for
    life.wait(5.0)          # sleep, but no longer than the service has to live; True when it is time to end. `await life.wait_async(5.0)`
    life.alive()            # a life sign for the watchdog, where it is not the main thread that serves

To be kept: what is imported here; everything else in this package may change. It needs Python's standard library and `sdnotify`.
"""

from __future__ import annotations

from nanod.lifecycle import signals
from nanod.lifecycle.errors import FrozenError, HookError, LifecycleError, ReloadError, RestartNeededError, StateError
from nanod.lifecycle.flow import Phase
from nanod.lifecycle.lifecycle import Lifecycle
from nanod.lifecycle.plain import Turn
from nanod.lifecycle.restart import refuse_changes

__all__ = [
    "FrozenError",
    "HookError",
    "Lifecycle",
    "LifecycleError",
    "Phase",
    "ReloadError",
    "RestartNeededError",
    "StateError",
    "Turn",
    "refuse_changes",
]

signals.survive_hangups()
