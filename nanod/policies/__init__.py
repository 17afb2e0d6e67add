"""Policies that come with nanod: what most services should have, each silenced by its name (`features: {policies: {NAME: off}}`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nanod.policies.limits import EndlessStop
from nanod.policies.secrets import PlainSecret
from nanod.policies.users import Root
from nanod.policies.web import NoHealth, NoPrestop

if TYPE_CHECKING:
    from nanod.extend import Policy

BUILT_IN: Final[tuple[Policy, ...]] = (Root(), PlainSecret(), NoHealth(), NoPrestop(), EndlessStop())
