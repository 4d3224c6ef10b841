import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { openStandInDatabase } from "../../support/tds/database.ts";
import { ask, drive, get, postFile, postForm, remove, type Wire } from "../load.ts";
import { median } from "../report.ts";
import { ADMIN, type Bench, loginAs, PASSWORD, startServer } from "../server.ts";

const REPEATS = 5;
/** Of each route; the first ones of a statement may look columns up. */
const AIMS = { "users/me": 1, "docs/me": 3, login: 5, upload: 10, download: 3, delete: 8 };

/** Round trips between request and answer, from a stand-in for SQL Server: no time is told. */
export async function statements(bench: Bench): Promise<void> {
  let sent = 0;
  let checks = 0;
  const database = await openStandInDatabase((session) => ({
    ...session,
    call(call) {
      if (call.text === "SELECT 1;") checks++;
      else sent++;
      return session.call(call);
    },
    transaction(step) {
      sent++;
      return session.transaction(step);
    },
  }));
  try {
    const env = { ...database.env, SQL_TRUST_SERVER_CERTIFICATE: "yes" };
    const { url } = await startServer(join(bench.folder, "data"), { env });
    const token = await loginAs(url);
    const documents: number[] = [];
    const upload = (name: string) => postFile(`${name}.bin`, randomBytes(1_000), token);
    for (let turn = 0; turn < REPEATS; turn++)
      documents.push((await ask<{ doc_id: number }>(url, upload(`first${turn}`))).doc_id);
    const document = (turn: number) => `/api/v1/docs/${documents[turn % REPEATS]}`;
    const requests: Record<keyof typeof AIMS, (turn: number) => Wire> = {
      "users/me": () => get("/api/v1/users/me", token),
      "docs/me": () => get("/api/v1/docs/me?limit=20", token),
      login: () => postForm("/api/v1/auth/login", { username: ADMIN, password: PASSWORD }),
      upload: (turn) => upload(`${turn}`),
      download: (turn) => get(`${document(turn)}/download`, token),
      delete: (turn) => remove(`${document(turn)}?force=true`, token),
    };
    for (const name of Object.keys(AIMS) as (keyof typeof AIMS)[]) {
      const counts: number[] = [];
      const checked: number[] = [];
      for (let turn = 0; turn < REPEATS; turn++) {
        await quiet(() => sent);
        [sent, checks] = [0, 0];
        const load = { connections: 1, count: 1, request: () => requests[name](turn) };
        await drive(url, load);
        counts.push(sent);
        checked.push(checks);
      }
      bench.report({
        name: `statements of ${name} on SQL Server`,
        unit: "number",
        ours: median(counts),
        aims: { atMost: AIMS[name] },
        note: `pool checks ${median(checked)}`,
      });
    }
  } finally {
    await database.remove();
  }
}

/** Resolves when nothing has been sent for a while: what goes on after an answer is over. */
async function quiet(count: () => number): Promise<void> {
  for (let before = Number.NaN; before !== count(); ) {
    before = count();
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
}
