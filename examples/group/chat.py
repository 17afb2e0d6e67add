"""chat.py PORT FILE: write what is posted into FILE, a line each."""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Chat(BaseHTTPRequestHandler):
    def do_POST(self):
        said = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with Path(sys.argv[2]).open("a") as file:
            print(said, file=file)
        self.send_response(204)
        self.end_headers()


HTTPServer(("127.0.0.1", int(sys.argv[1])), Chat).serve_forever()
