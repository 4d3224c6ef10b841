import assert from "node:assert/strict";
import type { CallOptions, Suite, TestApp } from "../support/app.ts";

/** A request and what it must bring. */
export interface Scenario extends CallOptions {
  /** The promise, in words. */
  title: string;
  /** Method and target, `GET /api/v1/users`. */
  at: string;
  status: number;
  /** The whole `detail` of an error. */
  detail?: string;
  /** Of a validation error: type and location of each issue, such as `min_length body.password`. */
  issues?: string[];
  /** Fields that the body has among others. */
  has?: Record<string, unknown>;
  /** Headers, each a value or a pattern; null: there is none. */
  replies?: Record<string, string | RegExp | null>;
}

/** Sends one and checks its answer. */
export async function play(app: TestApp, scenario: Scenario) {
  const { title, at, status, detail, issues, has, replies, ...options } = scenario;
  const [method = "", ...target] = at.split(" ");
  const answer = await app.call(method, target.join(" "), options);
  assert.equal(answer.status, status, `${title}: ${answer.bytes.toString("utf8").slice(0, 400)}`);
  if (detail !== undefined) assert.equal(answer.body.detail, detail, title);
  if (issues) {
    const found = answer.body.detail.map(
      (issue: { type: string; loc: string[] }) => `${issue.type} ${issue.loc.join(".")}`,
    );
    assert.deepEqual(found, issues, title);
  }
  if (has) assert.deepEqual({ ...answer.body, ...has }, answer.body, title);
  for (const [name, expected] of Object.entries(replies ?? {})) {
    const value = answer.headers.get(name);
    if (expected instanceof RegExp) assert.match(value ?? "", expected, `${title}: ${name}`);
    else assert.equal(value, expected, `${title}: ${name}`);
  }
  return answer;
}

/** A table of scenarios, a test each; none depends on what another left. */
export function scenarios(suite: Suite, rows: readonly Scenario[]): void {
  for (const row of rows) {
    suite.test(`${row.title}: ${row.at} ${row.status}`, async (app) => {
      await play(app, row);
    });
  }
}
