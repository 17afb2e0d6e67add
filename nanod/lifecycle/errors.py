"""What the library says when it is used wrongly, or when a reload fails.

LifecycleError                 the words are "cannot X: cause"; `hint`, where there is one, is a note of the exception too
├── FrozenError                a hook is registered once the service starts
├── HookError                  a function that cannot be this hook
├── StateError                 asked for at a time when it cannot be done
├── ReloadError                a reload hook failed; `__cause__` is its error
└── RestartNeededError         a part of the configuration that no reload can change
"""

from __future__ import annotations


class LifecycleError(Exception):
    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint:
            self.add_note(hint)


class FrozenError(LifecycleError):
    pass


class HookError(LifecycleError):
    pass


class StateError(LifecycleError):
    pass


class ReloadError(LifecycleError):
    """`hook` is the name of the hook that failed."""

    def __init__(self, message: str, *, hook: str) -> None:
        super().__init__(message)
        self.hook = hook


class RestartNeededError(LifecycleError):
    pass


class Interrupted(BaseException):
    """Raised in what takes longer than the service has to live. As KeyboardInterrupt it is no Exception: nobody keeps it by mistake."""


def words_of(error: BaseException) -> str:
    """An error on one line, with its type unless that says nothing."""
    said = " ".join(str(error).split())
    name = type(error).__name__
    if isinstance(error, LifecycleError):
        return said
    return f"{name}: {said}" if said else name
