"""How hooks are registered: as decorators, with or without a name, or as plain calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, overload

from nanod.lifecycle.registry import Kind, Registry

F = TypeVar("F", bound=Callable[[], object])


class Hooks:
    """Each of the methods hands back the function as it is. Raises FrozenError once the service starts, and HookError for what can be no hook.

    A hook takes no arguments. `name` is what it is called in messages and in `systemctl status`: that of the function, unless it is given.
    """

    def __init__(self) -> None:
        self._registry = Registry()

    @overload
    def on_start(self, function: F, /, *, name: str = ...) -> F: ...
    @overload
    def on_start(self, /, *, name: str = ...) -> Callable[[F], F]: ...
    def on_start(self, function: F | None = None, /, *, name: str = "") -> F | Callable[[F], F]:
        """Before the service serves, in order of registration. The first error ends the start: nothing serves, READY=1 is never said."""
        return self._register(Kind.START, function, name)

    @overload
    def on_ready(self, function: F, /, *, name: str = ...) -> F: ...
    @overload
    def on_ready(self, /, *, name: str = ...) -> Callable[[F], F]: ...
    def on_ready(self, function: F | None = None, /, *, name: str = "") -> F | Callable[[F], F]:
        """After READY=1, in order, beside the service: in a thread, or in a task when it is async. Errors are logged."""
        return self._register(Kind.READY, function, name)

    @overload
    def on_reload(self, function: F, /, *, name: str = ...) -> F: ...
    @overload
    def on_reload(self, /, *, name: str = ...) -> Callable[[F], F]: ...
    def on_reload(self, function: F | None = None, /, *, name: str = "") -> F | Callable[[F], F]:
        """At SIGHUP and `reload()`, in order. The first error stops the rest.

        A hook that returns a function has that called once all hooks have succeeded: hooks read and check, what they return puts it in force.
        """
        return self._register(Kind.RELOAD, function, name)

    @overload
    def on_shutdown(self, function: F, /, *, name: str = ..., undoes: Callable[..., object] | None = ...) -> F: ...
    @overload
    def on_shutdown(self, /, *, name: str = ..., undoes: Callable[..., object] | None = ...) -> Callable[[F], F]: ...
    def on_shutdown(self, function: F | None = None, /, *, name: str = "", undoes: Callable[..., object] | None = None) -> F | Callable[[F], F]:
        """When the end is asked for, the last registered first, with one deadline for all.

        With `undoes` only when that start hook has succeeded, or, if it is the service itself, when that has begun. Without it in any case, also
        when the start has failed.
        """
        return self._register(Kind.SHUTDOWN, function, name, undoes)

    @overload
    def on_stop(self, function: F, /, *, name: str = ...) -> F: ...
    @overload
    def on_stop(self, /, *, name: str = ...) -> Callable[[F], F]: ...
    def on_stop(self, function: F | None = None, /, *, name: str = "") -> F | Callable[[F], F]:
        """At the very end, in order, all of them, without a deadline; also when the start has failed."""
        return self._register(Kind.STOP, function, name)

    def _register(self, kind: Kind, function: F | None, name: str, undoes: Callable[..., object] | None = None) -> F | Callable[[F], F]:
        def register(function: F) -> F:
            self._registry.add(kind, function, name, undoes)
            return function

        return register if function is None else register(function)
