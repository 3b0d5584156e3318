"""Replays histories with the executor of PyPI's durabletask.

One line of JSON in for each orchestration, a list of {"request", "response"}: an OrchestratorRequest and the answer it got, in
base64. One line out: a list of the executor's own answers.

The two number actions differently, so ids are translated: the n-th new action of an episode here is the n-th there.
"""

import base64
import json
import logging
import sys
from datetime import timedelta

from durabletask import task
from durabletask.internal import orchestrator_service_pb2 as pb
from durabletask.serialization import JsonDataConverter
from durabletask.worker import _OrchestrationExecutor, _Registry

FAILED = "failed"


def begin(ctx, leaf):
    kind = leaf["k"]
    if kind == "activity":
        return ctx.call_activity(leaf["n"], input=leaf["i"])
    if kind == "retry":
        policy = task.RetryPolicy(
            first_retry_interval=timedelta(seconds=leaf["first"]),
            max_number_of_attempts=leaf["max"],
            backoff_coefficient=leaf["coef"],
        )
        return ctx.call_activity(leaf["n"], input=leaf["i"], retry_policy=policy)
    if kind == "timer":
        return ctx.create_timer(timedelta(seconds=leaf["s"]))
    if kind == "event":
        return ctx.wait_for_external_event(leaf["n"])
    text = json.dumps(leaf["i"], separators=(",", ":"))
    return ctx.call_sub_orchestrator(
        leaf["n"], input=leaf["i"], instance_id=f"{ctx.instance_id}-{leaf['n']}-{text}"
    )


def result_of(leaf, value):
    return None if leaf["k"] == "timer" else value


def outcome(leaf, finished):
    """What a finished task gave."""
    try:
        return result_of(leaf, finished.get_result())
    except task.TaskFailedError:
        return FAILED


def awaited(leaf, waiting):
    try:
        return result_of(leaf, (yield waiting))
    except task.TaskFailedError:
        return FAILED


def interpret(ctx, program):
    results, begun = [], {}
    for step in program["steps"]:
        kind = step["k"]
        if kind == "await":
            results.append((yield from awaited(step["t"], begin(ctx, step["t"]))))
        elif kind == "begin":
            begun[step["as"]] = (step["t"], begin(ctx, step["t"]))
        elif kind == "take":
            results.append((yield from awaited(*begun[step["as"]])))
        elif kind == "all":
            values = yield task.when_all([begin(ctx, it) for it in step["t"]])
            results.append([result_of(leaf, value) for leaf, value in zip(step["t"], values)])
        elif kind == "any":
            tasks = [begin(ctx, it) for it in step["t"]]
            first = yield task.when_any(tasks)
            at = tasks.index(first)
            results.append([at, outcome(step["t"][at], first)])
        elif kind == "status":
            ctx.set_custom_status(step["v"])
        elif kind == "uuid":
            results.append(ctx.new_uuid())
    end = program["end"]
    if end["k"] == "fail":
        raise RuntimeError("to fail")
    if end["k"] == "again" and program["round"] == 0:
        ctx.continue_as_new({**program, "round": 1}, save_events=end["save"])
        return None
    return results


def translated(events, ids):
    """The events with their ids instead of ours."""
    for event in events:
        event = type(event).FromString(event.SerializeToString())
        kind = event.WhichOneof("eventType")
        if kind in ("taskScheduled", "timerCreated", "subOrchestrationInstanceCreated"):
            event.eventId = ids[event.eventId]
        elif kind == "timerFired":
            event.timerFired.timerId = ids[event.timerFired.timerId]
        elif kind and hasattr(getattr(event, kind), "taskScheduledId"):
            body = getattr(event, kind)
            body.taskScheduledId = ids[body.taskScheduledId]
        yield event


def main():
    registry = _Registry()
    registry.add_named_orchestrator("interpret", interpret)
    logger = logging.getLogger("oracle")
    logger.setLevel(logging.CRITICAL)
    for line in sys.stdin:
        ids, answers = {}, []
        for episode in json.loads(line):
            request = pb.OrchestratorRequest.FromString(base64.b64decode(episode["request"]))
            ours = pb.OrchestratorResponse.FromString(base64.b64decode(episode["response"]))
            if not request.pastEvents:
                ids = {}
            executor = _OrchestrationExecutor(registry, logger, JsonDataConverter())
            try:
                past, new = (list(translated(it, ids)) for it in (request.pastEvents, request.newEvents))
            except KeyError:
                break  # An answer before this one was another: there is nothing more to compare.
            results = executor.execute(request.instanceId, past, new)
            actions = list(results.actions)
            for mine, yours in zip(ours.actions, actions):
                ids[mine.id] = yours.id
                yours.id = mine.id
            answer = pb.OrchestratorResponse(instanceId=request.instanceId, actions=actions)
            if results.encoded_custom_status is not None:
                answer.customStatus.value = results.encoded_custom_status
            answers.append(base64.b64encode(answer.SerializeToString()).decode())
        print(json.dumps(answers))


main()
