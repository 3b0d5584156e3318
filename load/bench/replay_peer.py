"""The same storm's last episode with azure-functions-durable: one line with a number of iterations in, its CPU time in ms out."""

import json
import sys
import time

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


def main():
    handle = df.Orchestrator.create(storm)
    bodies = {}
    for line in sys.stdin:
        iterations = int(line)
        body = bodies.setdefault(iterations, history(iterations))
        before = time.process_time()
        answer = handle(body)
        spent = (time.process_time() - before) * 1000
        assert len(json.loads(answer)["actions"][0]) == iterations + 1, answer
        print(spent, flush=True)


main()
