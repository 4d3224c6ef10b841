import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ADMIN, type Bench, compare, contend, PASSWORD } from "../contest.ts";
import { ask, get, postFile, postForm, type Wire, withToken } from "../load.ts";
import { ALL_CORES, type Program } from "../programs.ts";

const SCAN = readFileSync(join(import.meta.dirname, "../../samples/letter-scan.png"));
/** More than a worker reads while this is measured. */
const SCANS = 150;

/** Uploads, lists and logins while the OCR worker reads on the same cores, and without it. */
export async function besideWorker(bench: Bench): Promise<void> {
  const options = { cores: ALL_CORES, env: { EMBEDDED_WORKER: "yes" } };
  const floor = { EMBEDDED_WORKER: "no" };
  const { contenders, token } = await contend(bench, { floor }, options);
  const ids: number[] = [];
  for (const { url } of Object.values(contenders)) {
    for (let scan = 0; scan < SCANS; scan++) {
      const multipart = [{ name: "file", filename: `scan ${scan}.png`, data: SCAN }];
      const upload = { ...withToken(token), multipart };
      ids[scan] = (await ask(url, "POST", "/api/v1/docs/upload", upload)).doc_id;
    }
  }

  let names = 0;
  const file = randomBytes(20_000);
  const login = postForm("/api/v1/auth/login", { username: ADMIN, password: PASSWORD });
  const list = get("/api/v1/docs/me?limit=20", token);
  const requests: Record<string, () => Wire> = {
    "upload 20 KB × 4": () => postFile(`${++names}`, file, token),
    "GET /docs/me × 4": () => list,
    "login × 4": () => login,
  };
  for (const [name, request] of Object.entries(requests)) {
    const load = { connections: 4, seconds: bench.seconds, request };
    const { rate } = await compare(contenders, bench, () => load);
    bench.report({ name: `${name}, OCR at work (floor: none)`, unit: "requests/s", ...rate });
  }
  const { url } = contenders.ours as Program;
  const statusOf = async (id = 0) =>
    (await ask(url, "GET", `/api/v1/docs/${id}/status`, withToken(token))).ocr.status;
  assert.equal(await statusOf(ids.at(0)), "Finished", "the worker was not at work");
  assert.equal(await statusOf(ids.at(-1)), "Queued", "the worker was done too soon");
}
