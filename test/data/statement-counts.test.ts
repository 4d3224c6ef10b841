import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { PASSWORD, startTestApp } from "../support/app.ts";
import {
  type CountedRequest,
  countStatements,
  openCountingDatabase,
} from "../support/tds/statement-counts.ts";

/** Round trips to SQL Server that a request may take. */
const AT_MOST: Record<CountedRequest, number> = {
  "users/me": 1,
  "docs/me": 3,
  login: 5,
  upload: 9,
  download: 3,
  delete: 8,
};

test("a request sends no more statements than it needs", async (t) => {
  const database = await openCountingDatabase();
  const app = await startTestApp({}, { name: "counted", open: async () => database });
  t.after(() => app.close());
  const { token, email } = await app.as("admin");
  const account = { username: email, password: PASSWORD, token };

  const counts = await countStatements(database, app.url, account, AT_MOST, 40);
  for (const [name, atMost] of Object.entries(AT_MOST)) {
    const count = counts[name as CountedRequest];
    t.diagnostic(`${name}: ${count}`);
    assert.ok(count >= 1 && count <= atMost, `${name} sends ${count} statements, not ${atMost}`);
  }
  const early = database.checks.filter((idle) => idle < 1_000);
  assert.deepEqual(early, [], "a connection in steady use is checked");

  database.checks.length = 0;
  for (let attempt = 0; attempt < 20 && database.checks.length === 0; attempt++) {
    await sleep(1_200);
    await app.call("GET", "/api/v1/users/me", { as: "admin" });
  }
  assert.ok(database.checks.length > 0, "a connection that was idle is never checked");
});
