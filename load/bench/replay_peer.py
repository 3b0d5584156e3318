"""The same storm's last episode with azure-functions-durable, over HTTP: a number of iterations is posted, its actions are the answer."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import azure.durable_functions as df

INSTANCE = "7a21e8d1258a488bad8392f1bdfa36bf"


def storm(context):
    iterations = context.get_input()["iterations"]
    for index in range(iterations):
        yield context.call_activity("replay_lab_activity", {"index": index, "instanceIndex": 0})
    return iterations


def history(iterations):
    at = "2026-04-07T12:55:28.000915Z"
    event = lambda kind, event_id=-1, **fields: {
        "EventType": kind, "EventId": event_id, "IsPlayed": True, "Timestamp": at, **fields
    }
    given = json.dumps({"iterations": iterations + 1})
    events = [event(12), event(0, Name="storm", Version="", Input=given)]
    for index in range(iterations):
        result = json.dumps({"index": index, "instanceIndex": 0, "elapsedMs": 0.1})
        events += [
            event(4, index, Name="replay_lab_activity", Version="", Input=None),
            event(13),
            event(12),
            event(5, TaskScheduledId=index, Result=result),
        ]
    return json.dumps({
        "history": events, "input": given, "instanceId": INSTANCE, "isReplaying": False, "parentInstanceId": None,
        "upperSchemaVersion": 1, "upperSchemaVersionNew": 2, "longRunningTimerIntervalDuration": "3.00:00:00",
        "maximumShortTimerDuration": "6.00:00:00", "defaultHttpAsyncRequestSleepTimeMillseconds": 30000,
    })


class Storm(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    replay = staticmethod(df.Orchestrator.create(storm))
    bodies = {}

    def do_GET(self):
        self.answer("ready")

    def do_POST(self):
        iterations = int(self.rfile.read(int(self.headers["Content-Length"])))
        if iterations not in self.bodies:
            self.bodies[iterations] = history(iterations)
        self.answer(self.replay(self.bodies[iterations]))

    def answer(self, text):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


# A client may open a second connection while the first is kept alive.
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Storm).serve_forever()
