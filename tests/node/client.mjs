// Drives the webhooks with the client of durable-functions, as a function gets it from its binding: the whole management API.
// Argument: the base address of the webhooks, ending with a slash. Prints "all right" at the end.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const base = process.argv[2];
// Without it the client takes port 7071 for the host's.
process.env.WEBSITE_HOSTNAME = new URL(base).host;
const df = createRequire(import.meta.url)('durable-functions');
const { OrchestrationRuntimeStatus: Status } = df;

const ORCHESTRATOR = 'replay_storm_orchestrator';
const query = 'taskHub=ReplayLab&connection=Storage&code=unused';
const instance = `${base}instances/INSTANCEID`;
const binding = {
  taskHubName: 'ReplayLab',
  creationUrls: {
    createNewInstancePostUri: `${base}orchestrators/{functionName}[/{instanceId}]?code=unused`,
    createAndWaitOnNewInstancePostUri:
      `${base}orchestrators/{functionName}[/{instanceId}]?timeout={timeoutInSeconds}&pollingInterval={intervalInSeconds}&code=unused`,
  },
  managementUrls: {
    id: 'INSTANCEID',
    statusQueryGetUri: `${instance}?${query}`,
    sendEventPostUri: `${instance}/raiseEvent/{eventName}?${query}`,
    terminatePostUri: `${instance}/terminate?reason={text}&${query}`,
    rewindPostUri: `${instance}/rewind?reason={text}&${query}`,
    purgeHistoryDeleteUri: `${instance}?${query}`,
    restartPostUri: `${instance}/restart?${query}`,
    suspendPostUri: `${instance}/suspend?reason={text}&${query}`,
    resumePostUri: `${instance}/resume?reason={text}&${query}`,
  },
  baseUrl: base.replace(/\/$/, ''),
  requiredQueryStringParameters: 'code=unused',
  rpcBaseUrl: null,
};
const input = df.input.durableClient();
const client = df.getClient({ options: { extraInputs: [input] }, extraInputs: new Map([[input, binding]]) });

async function until(id, wanted) {
  for (let tries = 0; tries < 300; tries++) {
    const status = await client.getStatus(id);
    if (status.runtimeStatus === wanted) return status;
    await new Promise(ended => setTimeout(ended, 100));
  }
  throw new Error(`${id} is not ${wanted}`);
}
const ids = listed => listed.map(it => it.instanceId).sort();

// Start and status, with and without history and input.
const unnamed = await client.startNew(ORCHESTRATOR, { input: { iterations: 2 } });
assert.match(unnamed, /^[0-9a-f]{32}$/);
assert.equal((await until(unnamed, Status.Completed)).output.totalIterations, 2);
assert.equal(await client.startNew(ORCHESTRATOR, { instanceId: 'named', input: { iterations: 3 } }), 'named');
await until('named', Status.Completed);
const told = await client.getStatus('named', { showHistory: true, showHistoryOutput: true, showInput: true });
assert.deepEqual(told.input, { iterations: 3 });
// The client looks for `history`, and the extension writes `historyEvents`: there is none on Microsoft's host either.
assert.equal(told.history, undefined);
assert.equal((await client.getStatus('named', { showInput: false })).input, null);
await assert.rejects(client.getStatus('nosuch'), /HTTP 404/);

// Waits.
const request = { url: 'http://functions.example/api/start' };
const waited = await client.waitForCompletionOrCreateCheckStatusResponse(request, 'named', { timeoutInMilliseconds: 2000 });
assert.equal(waited.status, 200);
assert.equal((await waited.json()).totalIterations, 3);
await client.startNew(ORCHESTRATOR, { instanceId: 'long', input: { iterations: 1e6, continueAsNewEvery: 100 } });
await until('long', Status.Running);
await assert.rejects(client.startNew(ORCHESTRATOR, { instanceId: 'long', input: { iterations: 1 } }), /409/);
const options = { timeoutInMilliseconds: 300, retryIntervalInMilliseconds: 100 };
const pending = await client.waitForCompletionOrCreateCheckStatusResponse(request, 'long', options);
assert.equal(pending.status, 202);
const links = await pending.json();
assert.equal(links.statusQueryGetUri, `http://functions.example/runtime/webhooks/durabletask/instances/long?${query}`);
assert.equal(client.createCheckStatusResponse(undefined, 'long').headers.get('location'), `${base}instances/long?${query}`);
assert.equal(client.createHttpManagementPayload('long').id, 'long');

// Events, suspension, termination.
await client.raiseEvent('long', 'Go', { x: 1 });
await assert.rejects(client.raiseEvent('nosuch', 'Go', 1), /No instance/);
await client.suspend('long', 'tea');
await until('long', Status.Suspended);
await assert.rejects(client.suspend('long', 'tea'), /Cannot suspend/);
await client.resume('long', 'back');
await until('long', Status.Running);
await assert.rejects(client.resume('long', 'back'), /Cannot resume/);
await client.terminate('long', 'enough of it');
assert.equal((await until('long', Status.Terminated)).output, 'enough of it');
await client.raiseEvent('long', 'Go', 1);

// Rewind.
await client.startNew(ORCHESTRATOR, { instanceId: 'failing', input: { iterations: 'x' } });
await until('failing', Status.Failed);
await client.rewind('failing', 'again');
await until('failing', Status.Failed);
await assert.rejects(client.rewind('named', 'no'), /only orchestrations in the "Failed" state/);
await assert.rejects(client.rewind('nosuch', 'no'), /No orchestration with instance ID/);

// Lists: more than a page, and by filter.
const many = Array.from({ length: 120 }, (_, n) => `many${n}`);
await Promise.all(many.map(id => client.startNew('nosuch', { instanceId: id })));
for (const id of many) await until(id, Status.Failed);
assert.deepEqual(ids(await client.getStatusAll()), [unnamed, 'named', 'long', 'failing', ...many].sort());
const since = new Date(Date.now() - 600_000);
const found = await client.getStatusBy({ createdTimeFrom: since, createdTimeTo: new Date(), runtimeStatus: [Status.Completed, Status.Terminated] });
assert.deepEqual(ids(found), [unnamed, 'named', 'long'].sort());

// Purge, by id and by filter.
assert.equal((await client.purgeInstanceHistory('named')).instancesDeleted, 1);
assert.equal((await client.purgeInstanceHistory('named')).instancesDeleted, 0);
const purged = await client.purgeInstanceHistoryBy({ createdTimeFrom: since, createdTimeTo: new Date(), runtimeStatus: [Status.Failed] });
assert.equal(purged.instancesDeleted, many.length + 1);
assert.deepEqual(ids(await client.getStatusAll()), [unnamed, 'long'].sort());

// Entities, of which there are none.
assert.equal((await client.readEntityState(new df.EntityId('counter', 'a'))).entityExists, false);
await assert.rejects(client.signalEntity(new df.EntityId('counter', 'a'), 'add', 1), /No entity functions/);
console.log('all right');
