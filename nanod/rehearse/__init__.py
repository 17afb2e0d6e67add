"""Machines to throw away."""

from __future__ import annotations
