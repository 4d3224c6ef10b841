import assert from "node:assert/strict";
import { apiSuite, type CallOptions } from "../support/app.ts";

type Refusal = { at: string; options: CallOptions; status: number; by?: "user" | "inactive" };

const REFUSALS: Record<string, Refusal> = {
  "without a token": { at: "GET /api/v1/users/me", options: {}, status: 401 },
  "with a bad token": { at: "GET /api/v1/users/me", options: { as: "nonsense" }, status: 401 },
  "of a user who is no admin": {
    at: "GET /api/v1/users",
    options: { as: "user" },
    status: 403,
    by: "user",
  },
  "of a user who is not let in": {
    at: "GET /api/v1/paths",
    options: { as: "inactive" },
    status: 403,
    by: "inactive",
  },
  "of a field that is not one's own to change": {
    at: "PATCH /api/v1/users/me",
    options: { as: "user", json: { role_id: 99 } },
    status: 422,
    by: "user",
  },
};

apiSuite("a refusal is in the log, with what was asked, by whom and from where", (suite) => {
  for (const [title, { at, options, status, by }] of Object.entries(REFUSALS)) {
    suite.test(title, async (app) => {
      const [method = "", path = ""] = at.split(" ");
      const answer = await app.call(method, path, options);
      const id = answer.headers.get("x-request-id");
      const line = app.lines.find(({ request_id }) => request_id === id);
      const user = by && (await app.as(by)).id;
      assert.deepEqual(
        [answer.status, line?.method, line?.route, line?.status, line?.user_id],
        [status, method, path, status, user],
      );
      assert.match(String(line?.address), /127\.0\.0\.1$/);
    });
  }

  const limits = { env: { AUTH_RATE_PER_ADDRESS: "1" } };
  suite.testAlone("of one guess too many", limits, async (app) => {
    const form = { username: "nobody@example.com", password: "x" };
    await app.call("POST", "/api/v1/auth/login", { form });
    const answer = await app.call("POST", "/api/v1/auth/login", { form });
    const id = answer.headers.get("x-request-id");
    const line = app.lines.find(({ request_id }) => request_id === id);
    assert.deepEqual([answer.status, line?.status], [429, 429]);
  });
});
