"""The health gate's prober: a program of its own, standard library only, started as `python3 -I -S probe …` in a few milliseconds.

    probe KIND INTERVAL TIMEOUT START_TIMEOUT [ADDRESS | PROGRAM ARG…]
    probe alive FAILURES KIND INTERVAL TIMEOUT [ADDRESS | PROGRAM ARG…]

KIND is tcp, http, grpc, unix, file or exec; times are seconds. Exit 0: healthy. Exit 1: the main process ($MAINPID) is gone, or START_TIMEOUT passed;
the reason stands on stderr. systemd does not cut an ExecStartPost= line when the main process dies (tried on 252 and 257), so the prober watches it.
alive: exit 3 when FAILURES tries in a row have failed; the reason is sent to systemd as a status.
"""

import _socket  # `socket` itself imports selectors, enum and more, which takes longer than all that a probe does
import os
import sys
import time


def main(arguments: list[str]) -> int:
    if arguments[0] == "alive":
        return alive(int(arguments[1]), arguments[2], arguments[3:])
    attempt = PROBES[arguments[0]]
    interval, timeout, start_timeout = map(float, arguments[1:4])
    first = time.monotonic()
    deadline = first + start_timeout
    while True:
        began = time.monotonic()
        reason = attempt(arguments[4:], min(timeout, max(0.05, deadline - began)))
        # Somebody else may answer at the address, which is then why ours could not stay. The verdict knows these words.
        if not main_process_lives():
            return give_up(arguments, gone(arguments[0], reason))
        if reason is None:
            return 0
        now = time.monotonic()
        if now >= deadline:
            return give_up(arguments, f"not healthy within {start_timeout:g} s: {reason}")
        # Whoever is up soon is seen soon: late by a part of the time that it took. No probe is at it for more than half of the time.
        pause = max(SHORTEST_PAUSE, (now - first) * LATE, now - began)
        time.sleep(min(interval, pause, deadline - now))


def alive(failures: int, kind: str, arguments: list[str]) -> int:
    """Nothing is remembered from one run to the next, so one good try is health again."""
    interval, timeout = map(float, arguments[:2])
    subject, reason = arguments[2:], None
    for count in range(failures):
        if count:
            time.sleep(interval)
        reason = PROBES[kind](subject, timeout)
        if reason is None:
            return 0
    times = f" ({failures} times in a row)" if failures > 1 else ""
    what = kind if kind == "exec" else f"{kind} {subject[0]}"
    tell_systemd(f"STATUS={what}: {reason}{times}")
    return SICK


def tell_systemd(words: str) -> None:
    """sd_notify(3); a newline would begin another message, and PID 1 drops one that is longer than its buffer of 4096 bytes."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    with Connection(_socket.AF_UNIX, _socket.SOCK_DGRAM) as connection:
        try:
            connection.sendto(words.replace("\n", " ")[:900].encode(), address.replace("@", "\0", 1) if address.startswith("@") else address)
        except OSError:
            return  # nobody listens, and the exit status alone says that it is sick


def gone(kind: str, reason: str | None) -> str:
    """In words; a probe that is good all the same (`reason` None) is a hint."""
    return f"the main process is gone ({reason or OTHERWISE.get(kind, 'and something else answers')})"


def give_up(arguments: list[str], reason: str) -> int:
    sys.stderr.write(f"<3>nanod: health {arguments[0]} {' '.join(arguments[4:])}: {reason}\n")
    return 1


def main_process_lives() -> bool:
    pid = os.environ.get("MAINPID", "")
    if not pid:
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it lives, as somebody else
        return True
    return True


class Connection(_socket.socket):
    """Closed when it is left."""

    def __enter__(self) -> "Connection":  # noqa: PYI034 importing typing takes longer than a probe
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connected(address: str, timeout: float) -> Connection:
    """To `host:port` or `[v6]:port`, at the first of its addresses that takes it. Raises OSError."""
    host, _, port = address.rpartition(":")
    refused = OSError("it has no address")
    # As bytes: for text Python loads all that international names need.
    for family, kind, protocol, _, place in _socket.getaddrinfo(host.strip("[]").encode(), int(port), 0, _socket.SOCK_STREAM):
        connection = Connection(family, kind, protocol)
        try:
            connection.settimeout(timeout)
            connection.connect(place)
        except OSError as error:
            connection.close()
            refused = error
        else:
            return connection
    raise refused


def probe_tcp(words: list[str], timeout: float) -> str | None:
    try:
        connected(words[0], timeout).close()
    except OSError as refused:
        return refused.strerror or str(refused)
    return None


def probe_unix(words: list[str], timeout: float) -> str | None:
    with Connection(_socket.AF_UNIX, _socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(words[0])
        except OSError as refused:
            return refused.strerror or str(refused)
    return None


def probe_file(words: list[str], _timeout: float) -> str | None:
    return None if os.access(words[0], os.F_OK) else "no such file"


def probe_http(words: list[str], timeout: float) -> str | None:
    """Healthy is a status of 200 to 399. Written out, because importing http.client costs five times what a probe does."""
    scheme, _, rest = words[0].partition("://")
    authority, slash, path = rest.partition("/")
    has_port = authority.rpartition(":")[2].isdigit() and not authority.endswith("]")
    address = authority if has_port else f"{authority}:{443 if scheme == 'https' else 80}"
    request = f"GET {slash or '/'}{path} HTTP/1.0\r\nHost: {authority}\r\nUser-Agent: nanod\r\nConnection: close\r\n\r\n"
    deadline = time.monotonic() + timeout
    try:
        connection = connected(address, timeout)
        with connection if scheme == "http" else encrypted(connection, timeout) as stream:
            stream.sendall(request.encode())
            head = b""
            while b"\r\n" not in head and len(head) < 8192:
                stream.settimeout(max(0.01, deadline - time.monotonic()))
                piece = stream.recv(1024)
                if not piece:
                    break
                head += piece
    except OSError as refused:
        return refused.strerror or str(refused)
    words_of_status = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    if len(words_of_status) < 2 or not words_of_status[0].startswith("HTTP/") or not words_of_status[1].isdigit():
        return "the answer is not HTTP"
    return None if 200 <= int(words_of_status[1]) < 400 else f"status {words_of_status[1]}"


def encrypted(connection: Connection, timeout: float) -> "Connection":
    """The probe asks whether the service answers, of its own host, so certificates are not judged."""
    import socket  # noqa: PLC0415 only a probe of https pays for it
    import ssl  # noqa: PLC0415

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    plain = socket.socket(fileno=connection.detach())
    plain.settimeout(timeout)
    return context.wrap_socket(plain)  # type: ignore[return-value]  # of the same kind, as far as a probe goes


def probe_grpc(words: list[str], timeout: float) -> str | None:
    """Healthy is SERVING, of the standard health service (grpc.health.v1.Health/Check) for the server as a whole. In clear text: without TLS.

    One call in HTTP/2 (RFC 9113) is a few bytes, and the answer that counts is in a DATA frame: no header has to be decoded (HPACK, RFC 7541).
    """
    host = words[0].encode()[:126]  # a longer text has another form of length
    fields = b"\x83\x86" + b"".join(_literal(name, value) for name, value in ((b"\x04", b"/grpc.health.v1.Health/Check"), (b"\x01", host)))
    fields += _literal(b"\x0f\x10", b"application/grpc") + _literal(b"\x00\x02te", b"trailers")
    call = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS) + frame(HEADERS, fields, END_HEADERS, 1) + frame(DATA, bytes(5), END_STREAM, 1)
    deadline = time.monotonic() + timeout
    try:
        with connected(words[0], timeout) as connection:
            connection.sendall(call)
            return judged(connection, deadline)
    except TimeoutError:
        return f"no answer within {timeout:g} s"
    except OSError as refused:
        return refused.strerror or str(refused)


def _literal(name: bytes, value: bytes) -> bytes:
    """A field that is not indexed; `name` is its place in HPACK's static table, or written out."""
    return name + bytes([len(value)]) + value


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def judged(connection: Connection, deadline: float) -> str | None:
    """Read frames until the answer is there, or until there can be none."""
    message, first = b"", True
    while True:
        head = received(connection, 9, deadline)
        if len(head) < 9:
            return "the connection was closed"
        size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        if (first and kind != SETTINGS) or size > LONGEST_FRAME:
            return "the answer is not HTTP/2"
        first = False
        payload = received(connection, size, deadline)
        if len(payload) < size or kind in (RST_STREAM, GOAWAY):
            return "the connection was closed"
        if kind in (SETTINGS, PING) and not flags & ACK:
            connection.sendall(frame(kind, payload if kind == PING else b"", ACK))
        elif kind == DATA:
            message += payload[1 : len(payload) - payload[0]] if flags & PADDED else payload
            if len(message) >= max(5, 5 + int.from_bytes(message[1:5], "big")):
                return None if message[5:7] == SERVING else f"it says {SAYINGS.get(message[6:7], 'UNKNOWN')}"
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            return "it has no health service (grpc.health.v1.Health)"


def received(connection: Connection, size: int, deadline: float) -> bytes:
    """So many bytes, fewer where the other side ends. Raises TimeoutError when they do not come in time."""
    found = b""
    while len(found) < size:
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        piece = connection.recv(size - len(found))
        if not piece:
            break
        found += piece
    return found


DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM = ACK = 0x1
END_HEADERS, PADDED = 0x4, 0x8
LONGEST_FRAME = 16384
"""Nobody may send more before it is allowed (SETTINGS_MAX_FRAME_SIZE)."""
SERVING = b"\x08\x01"
"""HealthCheckResponse with `status` 1, in protobuf."""
SAYINGS = {b"\x02": "NOT_SERVING", b"\x03": "SERVICE_UNKNOWN"}


def probe_exec(words: list[str], timeout: float) -> str | None:
    import signal  # noqa: PLC0415 only this kind of probe pays for it
    import subprocess  # noqa: PLC0415

    try:
        command = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, process_group=0)
    except OSError as missing:
        return f"{words[0]}: {missing.strerror}"
    try:
        status = command.wait(timeout)
    except subprocess.TimeoutExpired:
        # With its children: what is left of each try would run as long as the service does.
        os.killpg(command.pid, signal.SIGKILL)
        command.wait()
        return f"no answer within {timeout:g} s"
    return None if status == 0 else f"exit status {status}"


SHORTEST_PAUSE = 0.005
LATE = 1 / 16
PROBES = {"tcp": probe_tcp, "http": probe_http, "unix": probe_unix, "grpc": probe_grpc, "file": probe_file, "exec": probe_exec}
SICK = 3
OTHERWISE = {"file": "the file is there", "exec": "the probe succeeds"}
"""What a good probe of a process that is gone means; elsewhere somebody else answers at its address."""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
