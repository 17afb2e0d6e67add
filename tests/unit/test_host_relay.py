"""A relay: what somebody writes to its paths comes out here, as it is."""

from __future__ import annotations

import os

from nanod.host.relay import Relay


def _open(path: str) -> int:
    """As systemd opens `append:`."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY)


def test_what_is_written_comes_out_as_it_is_and_apart() -> None:
    out, err = bytearray(), bytearray()
    with Relay(out.extend, err.extend) as relay:
        for path in (relay.out, relay.err):
            writer = _open(path)
            os.write(writer, path.encode() + b"\0\xff\n")
            os.close(writer)
        relay.pump(5)
        relay.drain()
        assert out == relay.out.encode() + b"\0\xff\n"
        assert err == relay.err.encode() + b"\0\xff\n"
        again = _open(relay.out)
        os.write(again, b"next")
        os.close(again)
        relay.drain()
    assert out.endswith(b"\nnext"), "the next unit opens the same path"


def test_nothing_to_say_ends_the_wait() -> None:
    with Relay(lambda _: None, lambda _: None) as relay:
        relay.pump(0.001)
        relay.drain()


def test_a_reader_that_went_away_is_told_to_the_writer() -> None:
    def gone(_: bytes) -> None:
        raise BrokenPipeError

    err = bytearray()
    with Relay(gone, err.extend) as relay:
        writer = _open(relay.out)
        os.write(writer, b"a")
        relay.pump(5)
        try:
            os.write(writer, b"b")
        except BrokenPipeError:
            told = True
        else:
            told = False
        os.close(writer)
        assert told
        os.close(_open(relay.out))
        other = _open(relay.err)
        os.write(other, b"c")
        os.close(other)
        relay.drain()
    assert err == b"c"


def test_no_descriptor_is_left() -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with Relay(lambda _: None, lambda _: None):
        pass
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
