"""Drives the webhooks with the client of azure-functions-durable: start, list, signal, suspend, resume, terminate, purge.

Argument: the base address of the webhooks, ending with a slash. Prints "all right" at the end.
"""

import asyncio
import json
import sys
from datetime import datetime, timezone

from azure.durable_functions import DurableOrchestrationClient, OrchestrationRuntimeStatus as Status

ORCHESTRATOR = "replay_storm_orchestrator"


def client(base):
    links = {
        name: f"{base}instances/INSTANCEID/{path}"
        for name, path in {
            "statusQueryGetUri": "", "sendEventPostUri": "raiseEvent/{eventName}", "terminatePostUri": "terminate?reason={text}",
            "rewindPostUri": "rewind?reason={text}", "purgeHistoryDeleteUri": "", "restartPostUri": "restart",
            "suspendPostUri": "suspend?reason={text}", "resumePostUri": "resume?reason={text}",
        }.items()
    }
    context = {
        "taskHubName": "ReplayLab",
        "creationUrls": {
            "createNewInstancePostUri": base + "orchestrators/{functionName}[/{instanceId}]",
            "createAndWaitOnNewInstancePostUri": base + "orchestrators/{functionName}[/{instanceId}]?timeout={timeoutInSeconds}",
        },
        "managementUrls": {"id": "INSTANCEID", **links},
        "baseUrl": base.rstrip("/"),
        "requiredQueryStringParameters": "",
        "rpcBaseUrl": base,
    }
    return DurableOrchestrationClient(json.dumps(context))


async def until(durable, instance, wanted):
    for _ in range(300):
        status = await durable.get_status(instance, show_input=True)
        if status.runtime_status == wanted:
            return status
        await asyncio.sleep(0.1)
    raise AssertionError(f"{instance} is {status.runtime_status}, not {wanted}")


async def main(base):
    durable = client(base)
    short = await durable.start_new(ORCHESTRATOR, client_input={"iterations": 3})
    done = await until(durable, short, Status.Completed)
    assert done.output["totalIterations"] == 3, done.output

    # This client encodes its input, and so does the HTTP library below it.
    status = await durable.get_status(short, show_input=True)
    assert isinstance(status.input_, str), status.input_
    named = await durable.start_new(ORCHESTRATOR, "named", {"iterations": 2})
    assert named == "named"
    done = await until(durable, named, Status.Completed)
    assert done.output["totalIterations"] == 2, done.output

    long = await durable.start_new(ORCHESTRATOR, "long", {"iterations": 100000, "continueAsNewEvery": 50})
    await until(durable, long, Status.Running)
    assert {it.instance_id for it in await durable.get_status_all()} == {short, "named", "long"}
    running = await durable.get_status_by(runtime_status=[Status.Running])
    assert [it.instance_id for it in running] == ["long"], running

    await durable.raise_event(long, "Go", {"x": 1})
    await durable.suspend(long, "tea")
    await until(durable, long, Status.Suspended)
    await durable.resume(long, "back")
    await until(durable, long, Status.Running)
    await durable.terminate(long, "enough")
    await until(durable, long, Status.Terminated)
    for _ in range(100):
        result = await durable.purge_instance_history(long)
        if result.instances_deleted == 1:
            break
        await asyncio.sleep(0.1)
    assert result.instances_deleted == 1, result
    begin = datetime(2020, 1, 1, tzinfo=timezone.utc)
    result = await durable.purge_instance_history_by(begin, datetime.now(timezone.utc), [Status.Completed])
    assert result.instances_deleted == 2, result.instances_deleted
    assert not await durable.get_status_all()
    print("all right")


asyncio.run(main(sys.argv[1]))
