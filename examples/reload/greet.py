"""greet.py [--check] FILE: serve the `greeting` of FILE on $NANOD_RUN_DIR/socket; SIGHUP reads FILE again. --check only says whether FILE is good."""

import configparser
import os
import signal
import socket
import sys


def greeting(file: str) -> str:
    """Raises KeyError or configparser.Error for a bad file."""
    parser = configparser.ConfigParser()
    with open(file, encoding="utf-8") as text:
        parser.read_file(text)
    return parser["greeter"]["greeting"]


def serve(file: str) -> None:
    words = greeting(file)

    def reload(*_: object) -> None:
        nonlocal words
        words = greeting(file)

    signal.signal(signal.SIGHUP, reload)
    path = os.path.join(os.environ["NANOD_RUN_DIR"], "socket")
    if os.path.exists(path):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            connection, _ = listener.accept()
            with connection:
                try:
                    connection.sendall(f"{words}\n".encode())
                except BrokenPipeError:
                    continue  # a probe connects and goes


if sys.argv[1] == "--check":
    greeting(sys.argv[2])
else:
    serve(sys.argv[1])
