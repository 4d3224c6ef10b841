import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { send } from "../client.ts";
import { openStandInDatabase, type StandInDatabase } from "./database.ts";

export interface CountingDatabase extends StandInDatabase {
  /** Round trips so far: statements, and the steps of transactions. */
  sent: number;
  /** How long a connection had been idle when the pool asked whether it lives, in milliseconds. */
  checks: number[];
}

/** A stand-in for SQL Server that counts what it is asked. */
export async function openCountingDatabase(): Promise<CountingDatabase> {
  const counts = { sent: 0, checks: [] as number[] };
  const database = await openStandInDatabase((session) => {
    let answeredAt = performance.now();
    const answer = async <Value>(value: Value | Promise<Value>) => {
      const answered = await value;
      answeredAt = performance.now();
      return answered;
    };
    return {
      ...session,
      call(call) {
        if (call.text === "SELECT 1;") counts.checks.push(performance.now() - answeredAt);
        else counts.sent++;
        return answer(session.call(call));
      },
      transaction(step) {
        counts.sent++;
        return answer(session.transaction(step));
      },
    };
  });
  return Object.assign(counts, database);
}

export type CountedRequest = "users/me" | "docs/me" | "login" | "upload" | "download" | "delete";

/**
 * Round trips between a request and its answer: the least of so many `attempts`, or the first that
 * is within `atMost`, as what the server does by itself meanwhile is counted with it, and a table's
 * first statements look columns up.
 */
export async function countStatements(
  database: CountingDatabase,
  url: string,
  account: { username: string; password: string; token: string },
  atMost: Record<CountedRequest, number>,
  attempts: number,
): Promise<Record<CountedRequest, number>> {
  const { username, password, token } = account;
  const headers = { Authorization: `Bearer ${token}` };
  const call = (method: string, path: string, options = {}) =>
    send(url, method, `/api/v1/${path}`, { headers, ...options });
  const upload = () => {
    const file = { name: "file", filename: randomUUID(), data: "text" };
    return call("POST", "docs/upload", { multipart: [file] });
  };
  const requests: Record<CountedRequest, (docId: number) => ReturnType<typeof send>> = {
    "users/me": () => call("GET", "users/me"),
    "docs/me": () => call("GET", "docs/me?limit=20"),
    login: () => call("POST", "auth/login", { form: { username, password } }),
    upload,
    download: (docId) => call("GET", `docs/${docId}/download`),
    delete: (docId) => call("DELETE", `docs/${docId}?force=true`),
  };
  const names = Object.keys(requests) as CountedRequest[];
  const counts = Object.fromEntries(
    names.map((name) => [name, Number.POSITIVE_INFINITY]),
  ) as Record<CountedRequest, number>;
  for (const name of names) {
    for (let turn = 0; turn < attempts && counts[name] > atMost[name]; turn++) {
      const { doc_id } = (await upload()).body;
      await quiet(database);
      const before = database.sent;
      const { status } = await requests[name](doc_id);
      counts[name] = Math.min(counts[name], database.sent - before);
      assert.ok(status < 300, `${name} is answered with ${status}`);
    }
  }
  return counts;
}

/** Resolves when nothing has been sent for a while: what goes on after an answer is over. */
async function quiet(database: CountingDatabase): Promise<void> {
  for (let before = Number.NaN; before !== database.sent; ) {
    before = database.sent;
    await sleep(50);
  }
}
