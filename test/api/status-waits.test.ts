import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { updateUser } from "../../src/data/users.ts";
import { apiSuite, type CallOptions, type Suite, type TestApp } from "../support/app.ts";
import { until } from "../support/wait.ts";
import { setStage, upload } from "./document-support.ts";

const ORIGIN = "https://app.example.com";
const status = (docId: number) => `/api/v1/docs/${docId}/status`;

/** Asks with `Prefer`, and resolves when the server has looked for news: the request is held. */
async function hold(
  app: TestApp,
  t: TestContext,
  docId: number,
  options: CallOptions = { as: "user" },
) {
  const looks = t.mock.method(app.app.database, "all");
  const started = performance.now();
  const headers = { Prefer: "wait=30", ...options.headers };
  let isAnswered = false;
  const answer = app.call("GET", status(docId), { ...options, headers }).finally(() => {
    isAnswered = true;
  });
  const looked = () => looks.mock.calls.some((call) => String(call.arguments[0]).includes(" IN ("));
  await until(() => looked() || isAnswered, "the server to look for news");
  looks.mock.restore();
  assert.equal(isAnswered, false);
  return async () => {
    const { status, body, headers } = await answer;
    // Not at the end of its wait.
    assert.ok(performance.now() - started < 25_000, "it came too late");
    return { status, body, headers };
  };
}

apiSuite("waiting for a document", (suite) => {
  news(suite);
  noWait(suite);
  ends(suite);
});

function news({ test, testAlone }: Suite): void {
  for (const [what, change] of [
    ["status", { status: "Processing", done: null, total: null }],
    ["pages", { status: "Processing", done: 1, total: 7 }],
    ["end", { status: "Failed", done: null, total: null }],
  ] as const) {
    test(`an answer that is held comes with the news: ${what}`, async (app, t) => {
      const { doc_id } = await upload(app);
      if (what !== "status") await setStage(app, doc_id, "Processing", { done: 0, total: 7 });
      const answer = await hold(app, t, doc_id);
      const { done, total } = change;
      await setStage(app, doc_id, change.status, done === null ? {} : { done, total });
      const { body, headers } = await answer();
      assert.deepEqual([body.status, body.pages_done, body.pages_total], Object.values(change));
      assert.equal(headers.get("preference-applied"), "wait=30");
    });
  }

  test("an admin waits for anybody's", async (app, t) => {
    const { doc_id } = await upload(app);
    const answer = await hold(app, t, doc_id, { as: "admin" });
    await setStage(app, doc_id, "Finished");
    assert.equal((await answer()).body.status, "Finished");
  });

  test("without news the answer comes in the end, as it was", async (app) => {
    const { doc_id } = await upload(app);
    const started = performance.now();
    const headers = { Prefer: "respond-async, wait=1; x=y" };
    const answer = await app.call("GET", status(doc_id), { as: "user", headers });
    assert.ok(performance.now() - started > 900);
    assert.deepEqual([answer.status, answer.body.status], [200, "Queued"]);
    assert.equal(answer.headers.get("preference-applied"), "wait=1");
  });

  testAlone(
    "a page of a known origin may prefer, and sees what was applied",
    { env: { CORS_ORIGINS: `["${ORIGIN}"]` } },
    async (app) => {
      const { doc_id } = await upload(app);
      await setStage(app, doc_id, "Finished");
      const Origin = ORIGIN;
      const asked = { "Access-Control-Request-Method": "GET" };
      const preflight = await app.call("OPTIONS", status(doc_id), {
        headers: { Origin, ...asked },
      });
      assert.match(preflight.headers.get("access-control-allow-headers") ?? "", /\bPrefer\b/);
      const headers = { Origin, Prefer: "wait=5" };
      const answer = await app.call("GET", status(doc_id), { as: "user", headers });
      const exposed = answer.headers.get("access-control-expose-headers") ?? "";
      assert.match(exposed, /\bPreference-Applied\b/);
    },
  );
}

/** The limit is far below the 30 s that are asked for. */
async function atOnce(app: TestApp, method: string, at: string, options: CallOptions) {
  const started = performance.now();
  const answer = await app.call(method, at, options);
  assert.ok(performance.now() - started < 20_000, "it was held");
  return answer;
}

function noWait({ test }: Suite): void {
  for (const state of ["Finished", "Failed"])
    test(`what is ${state} is told at once, however long one would wait`, async (app) => {
      const { doc_id } = await upload(app);
      await setStage(app, doc_id, state);
      const headers = { Prefer: "wait=100" };
      const answer = await atOnce(app, "GET", status(doc_id), { as: "user", headers });
      assert.equal(answer.body.status, state);
      assert.equal(answer.headers.get("preference-applied"), "wait=30");
    });

  for (const Prefer of ["wait=0", "wait=x", "wait", "respond-async", 'a="wait=30"'])
    test(`Prefer: ${Prefer} is no wish to wait`, async (app) => {
      const { doc_id } = await upload(app);
      const options = { as: "user", headers: { Prefer } } as const;
      const answer = await atOnce(app, "GET", status(doc_id), options);
      assert.deepEqual([answer.status, answer.body.status], [200, "Queued"]);
      assert.equal(answer.headers.get("preference-applied"), null);
    });

  test("HEAD is not held, nor what one may not see, nor any other route", async (app) => {
    const { doc_id } = await upload(app);
    const headers = { Prefer: "wait=30" };
    const ask = async (method: string, at: string, as: CallOptions["as"]) =>
      (await atOnce(app, method, at, { as, headers })).status;
    assert.equal(await ask("HEAD", status(doc_id), "user"), 200);
    assert.equal(await ask("GET", status(doc_id), "other"), 404);
    assert.equal(await ask("GET", status(doc_id), undefined), 401);
    assert.equal(await ask("GET", status(999_999), "user"), 404);
    assert.equal(await ask("GET", `/api/v1/docs/${doc_id}`, "user"), 200);
  });
}

function ends({ test, testAlone }: Suite): void {
  test("who may no longer see it when there is news is not told", async (app, t) => {
    const person = await app.person();
    const { doc_id } = await upload(app, "secret", person);
    const answer = await hold(app, t, doc_id, { as: person });
    await updateUser(app.app.database, person.id, { is_active: false });
    await setStage(app, doc_id, "Finished");
    assert.equal((await answer()).status, 403);
  });

  test("a demoted admin waits for nobody else's any more", async (app, t) => {
    const person = await app.person({ roleId: 99 });
    const { doc_id } = await upload(app);
    const answer = await hold(app, t, doc_id, { as: person });
    await updateUser(app.app.database, person.id, { role_id: 1 });
    await setStage(app, doc_id, "Finished");
    const { status, body } = await answer();
    assert.deepEqual([status, body.detail], [404, `Document with id ${doc_id} not found.`]);
  });

  test("who signs out is no longer waited for", async (app, t) => {
    const person = await app.person();
    const { doc_id } = await upload(app, "mine", person);
    const answer = await hold(app, t, doc_id, { as: person });
    await app.call("POST", "/api/v1/auth/logout", { as: person });
    await setStage(app, doc_id, "Finished");
    assert.equal((await answer()).status, 401);
  });

  test("a document that is deleted meanwhile is a 404", async (app, t) => {
    const { doc_id } = await upload(app);
    const answer = await hold(app, t, doc_id);
    await app.call("DELETE", `/api/v1/docs/${doc_id}?force=true`, { as: "admin" });
    assert.equal((await answer()).status, 404);
  });

  test("one that is queued again is no news to who saw it queued", async (app, t) => {
    const { doc_id } = await upload(app);
    const answer = await hold(app, t, doc_id);
    await app.call("POST", `/api/v1/docs/${doc_id}/reprocess?force=true`, { as: "admin" });
    await setStage(app, doc_id, "Finished");
    assert.equal((await answer()).body.status, "Finished");
  });

  testAlone("a hundred requests that are held cost a statement a second", {}, async (app, t) => {
    const { doc_id } = await upload(app);
    const looks = t.mock.method(app.app.database, "all");
    const count = () =>
      looks.mock.calls.filter((call) => String(call.arguments[0]).includes(" IN (")).length;
    const headers = { Prefer: "wait=30" };
    let isHeld = true;
    const answers = Array.from({ length: 100 }, () =>
      app.call("GET", status(doc_id), { as: "user", headers }).finally(() => {
        isHeld = false;
      }),
    );
    const started = performance.now();
    await until(() => count() >= 3, "three looks");
    const passed = (performance.now() - started) / 1000;
    assert.ok(isHeld && count() <= passed + 2, `${count()} looks in ${passed} s`);
    await setStage(app, doc_id, "Finished");
    for (const answer of answers) assert.equal((await answer).body.status, "Finished");
    assert.ok(count() <= passed + 10, `${count()} looks`);
  });

  testAlone("a server that stops answers all that it holds", {}, async (app, t) => {
    const { doc_id } = await upload(app);
    const answer = await hold(app, t, doc_id);
    await app.app.stop();
    const { status, body } = await answer();
    assert.deepEqual([status, body.status], [200, "Queued"]);
  });
}
