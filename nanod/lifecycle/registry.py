"""The hooks of a service: registered before it starts, and fixed from then on."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from nanod.lifecycle.errors import FrozenError, HookError

if TYPE_CHECKING:
    from collections.abc import Callable

# inspect(5) has names for these; importing it costs more memory than this whole package.
_COROUTINE, _GENERATOR, _ASYNC_GENERATOR = 0x80, 0x20, 0x200


class Kind(StrEnum):
    START = "on_start"
    READY = "on_ready"
    RELOAD = "on_reload"
    SHUTDOWN = "on_shutdown"
    STOP = "on_stop"


class Hook(NamedTuple):
    """`undoes` is the start hook without whose success this shutdown hook has nothing to do, or the service itself, which then has begun."""

    kind: Kind
    name: str
    function: Callable[[], object]
    undoes: Callable[..., object] | None = None

    def __str__(self) -> str:
        return f"{self.kind} hook '{self.name}'"


class Registry:
    def __init__(self) -> None:
        self._hooks: list[Hook] = []
        self._frozen = False

    def add(self, kind: Kind, function: Callable[[], object], name: str, undoes: Callable[..., object] | None = None) -> None:
        """Raises FrozenError once the service starts, and HookError for what can be no hook."""
        hook = Hook(kind, name or name_of(function), function, undoes)
        if self._frozen:
            raise FrozenError(f"cannot register {hook}: the service has started", hint="register all hooks before run() or serve()")
        if not callable(function):
            raise HookError(f"cannot register {hook}: it is no function but {function!r}")
        if _flags(function) & (_GENERATOR | _ASYNC_GENERATOR):
            raise HookError(f"cannot register {hook}: it is a generator, and calling one does nothing")
        self._hooks.append(hook)

    def freeze(self, serve: Callable[..., object] | None) -> None:
        """`serve` is the service itself. Raises HookError for a shutdown hook that undoes neither that nor a start hook."""
        begun = [serve, *(hook.function for hook in self.of(Kind.START))]
        for hook in self._hooks:
            if hook.undoes is not None and hook.undoes not in begun:
                raise HookError(f"cannot run {hook}: what it undoes, '{name_of(hook.undoes)}', is neither an on_start hook nor the service")
        self._frozen = True

    def of(self, kind: Kind) -> tuple[Hook, ...]:
        """In order of registration."""
        return tuple(hook for hook in self._hooks if hook.kind is kind)

    def refuse_async(self) -> None:
        """Raises HookError for a hook that needs asyncio."""
        for hook in self._hooks:
            if is_async(hook.function):
                raise HookError(f"cannot run {hook}: it is async, and run() has no event loop", hint="use `await life.serve(main)`")


def name_of(function: object) -> str:
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


def is_async(function: object) -> bool:
    """Whether a call of it gives a coroutine, as far as its code says."""
    return bool(_flags(function) & _COROUTINE)


def _flags(function: object) -> int:
    while isinstance(function, partial):
        function = function.func
    called = function if hasattr(function, "__code__") else getattr(function, "__call__", None)  # noqa: B004  # its code is what counts
    return int(getattr(getattr(called, "__code__", None), "co_flags", 0))
