"""Drives the webhooks with the client of azure-functions-durable: its whole management API.

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

    # History, waits, and the answer for those who wait.
    told = await durable.get_status(named, show_history=True, show_history_output=True, show_input=True)
    # The client looks for `history`, and the extension writes `historyEvents`: there is none on Microsoft's host either.
    assert told.history is None and told.output["totalIterations"] == 2, told
    waited = await durable.wait_for_completion_or_create_check_status_response(None, named, 2000, 100)
    assert json.loads(waited.get_body())["totalIterations"] == 2 and waited.status_code == 200, waited.get_body()
    checked = durable.create_check_status_response(None, named)
    assert checked.status_code == 202 and f"instances/{named}" in checked.headers["Location"], checked.headers

    # A restart in place, and one under an id of its own.
    again = await durable.restart(named, restart_with_new_instance_id=False)
    assert again["id"] == named, again
    done = await until(durable, named, Status.Completed)
    other = (await durable.restart(named))["id"]
    assert other != named, other
    assert (await until(durable, other, Status.Completed)).output["totalIterations"] == 2
    assert (await durable.purge_instance_history(other)).instances_deleted == 1
    assert (await durable.purge_instance_history(other)).instances_deleted == 0

    # What failed is rewound, and fails again for the same reason.
    failing = await durable.start_new(ORCHESTRATOR, "failing", {"iterations": "x"})
    await until(durable, failing, Status.Failed)
    await durable.rewind(failing, "again")
    await until(durable, failing, Status.Failed)
    for wrong, why in ((named, "Failed"), ("nosuch", "No")):
        try:
            await durable.rewind(wrong, "no")
        except Exception as refused:
            assert why in str(refused), refused
        else:
            raise AssertionError(f"{wrong} was rewound")
    assert (await durable.purge_instance_history(failing)).instances_deleted == 1

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
