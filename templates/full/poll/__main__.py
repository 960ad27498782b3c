"""The poll on port 8000: GET / returns the votes, POST /OPTION adds a vote."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from poll.votes import Votes

PORT = 8000


class Handler(BaseHTTPRequestHandler):
    wbufsize = -1  # send each response in one piece: health checks close the connection early
    votes = Votes()

    def do_GET(self):
        if self.path == "/healthz":
            self.votes.ready()
            self.answer(200, "ok")
        elif self.path == "/":
            self.answer(200, self.votes.tally())
        else:
            self.answer(404, "not found")

    def do_POST(self):
        try:
            self.answer(200, self.votes.cast(self.path.removeprefix("/")))
        except KeyError:
            self.answer(404, "unknown option")

    def answer(self, status, content):
        body = f"{json.dumps(content)}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("", PORT), Handler).serve_forever()
