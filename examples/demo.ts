// The whole job over HTTP, as any client may do it: `npm run demo`. Starts the built server on a
// temporary folder and a free port, with the other parts as the environment or `.env` names them,
// prints a line a request, ends at the first wrong answer, and removes at the end what it made.

import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const SERVER = join(import.meta.dirname, "../dist/main.js");
const SAMPLES = join(import.meta.dirname, "../test/samples");
const API = "/api/v1";
/** All that the server gets of the environment: its limits and keys change nothing here. */
const PASSED_ON =
  /^(SQL_|MONGO_|BLOB_|MESSAGE_BROKER_|PROCESSING_|OCR_QUEUE_|MIGRATE_|NODE_EXTRA_CA_CERTS$)/;
/** How long an answer may take, in milliseconds. */
const TIMEOUT = 60_000;

interface Account {
  email: string;
  password: string;
}

interface Sample {
  name: string;
  bytes: Buffer;
  folder: string;
}

interface Call {
  token?: string;
  json?: unknown;
  form?: Record<string, string>;
  file?: Sample;
  range?: string;
}

/** The fields of the answers that are looked at. */
interface Body {
  access_token: string;
  refresh_token: string;
  user_id: number;
  doc_id: number;
  id: number;
  total: number;
  status: string;
}

const print = (line: string) => process.stdout.write(`${line}\n`);
const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
/** Keeps apart what several runs make on the same parts. */
const run = randomBytes(3).toString("hex");

function newAccount(name: string): Account {
  const password = `كلمة مرور 7 ${randomBytes(12).toString("base64url")}`;
  return { email: `${name}-${run}@example.org`, password };
}

function check(actual: unknown, expected: unknown, what: string): void {
  if (actual !== expected) throw new Error(`Expected ${what} to be ${expected}, got ${actual}`);
}

/** Sends one request after the other to `url`. Throws when a status is wrong or no answer comes. */
function clientOf(url: string) {
  return async (title: string, status: number, method: string, path: string, call: Call = {}) => {
    const headers = {
      ...(call.token ? { Authorization: `Bearer ${call.token}` } : {}),
      ...(call.json ? { "Content-Type": "application/json" } : {}),
      ...(call.range ? { Range: call.range } : {}),
    };
    let body: RequestInit["body"] = null;
    if (call.json) body = JSON.stringify(call.json);
    if (call.form) body = new URLSearchParams(call.form);
    if (call.file) {
      body = new FormData();
      body.append("full_path", call.file.folder);
      body.append("file", new Blob([new Uint8Array(call.file.bytes)]), call.file.name);
    }
    const signal = AbortSignal.timeout(TIMEOUT);
    try {
      const response = await fetch(url + path, { method, headers, body, signal });
      const bytes = Buffer.from(await response.arrayBuffer());
      print(`${response.status} ${method.padEnd(6)} ${path.padEnd(34)} ${title}`);
      if (response.status !== status) {
        throw new Error(`expected ${status}, got ${response.status}: ${bytes.subarray(0, 500)}`);
      }
      const isJson = response.headers.get("content-type")?.startsWith("application/json");
      const parsed: Partial<Body> = isJson ? JSON.parse(bytes.toString("utf8")) : {};
      return { body: parsed as Body, bytes, headers: response.headers };
    } catch (error) {
      throw new Error(`${method} ${path} (${title}): ${(error as Error).message}`);
    }
  };
}

type Client = ReturnType<typeof clientOf>;

async function login(call: Client, who: string, { email, password }: Account, status = 200) {
  const form = { grant_type: "password", username: email, password };
  return (await call(`${who} logs in`, status, "POST", `${API}/auth/login`, { form })).body;
}

async function play(url: string, admin: Account): Promise<void> {
  const call = clientOf(url);
  await call("the server is alive", 204, "GET", "/");
  await call("and every part of it is ready", 200, "GET", "/ready");

  const salma = newAccount("salma");
  const json = { full_name: "Salma Haddad", ...salma };
  const user = (await call("Salma registers", 201, "POST", `${API}/auth/register`, { json })).body;
  await login(call, "Salma, not yet let in,", salma, 403);
  const { access_token: token } = await login(call, "the admin", admin);
  await call("who sees who waits,", 200, "GET", `${API}/users/pending`, { token });
  const userPath = `${API}/users/${user.user_id}`;
  await call("gives her a role", 200, "PATCH", userPath, { token, json: { role_id: 1 } });
  await call("and lets her in", 200, "PATCH", `${userPath}/activate`, { token });

  const folders = [];
  for (const full_path of [`archive-${run}`, `archive-${run}/رسائل`]) {
    const title = `the admin makes the folder ${full_path}`;
    const { body } = await call(title, 201, "POST", `${API}/paths`, { token, json: { full_path } });
    folders.push({ full_path, path: `${API}/paths/${body.id}` });
  }
  const tokens = await login(call, "Salma", salma);
  const documents = await upload(call, tokens.access_token, folders);
  const renamed = { token, json: { full_path: `archive-${run}-2026` } };
  await call("the admin renames a folder", 200, "PATCH", folders[0]?.path ?? "", renamed);
  await download(call, tokens.access_token, documents);
  const refresh = { token: tokens.refresh_token };
  await call("Salma's client renews its token", 200, "POST", `${API}/auth/refresh`, refresh);

  for (const [path, { name }] of documents) {
    await call(`the admin deletes ${name}`, 200, "DELETE", `${path}?force=true`, { token });
    await call("which is gone", 404, "GET", `${path}/status`, { token });
  }
  for (const { path } of folders.reverse()) {
    await call("the admin deletes a folder", 204, "DELETE", path, { token });
  }
  await call("and Salma", 204, "DELETE", userPath, { token });
  const gone = { token: tokens.access_token };
  await call("whose token is worth nothing now", 401, "GET", `${API}/users/me`, gone);
}

/** Uploads the samples, into one folder after the other. The documents by their path in the API. */
async function upload(call: Client, token: string, folders: { full_path: string }[]) {
  const documents = new Map<string, Sample>();
  const names = readdirSync(SAMPLES).filter((name) => !name.endsWith(".md"));
  for (const [index, name] of names.entries()) {
    const folder = folders[index % folders.length]?.full_path ?? "/";
    const file = { name, bytes: readFileSync(join(SAMPLES, name)), folder };
    const title = `Salma uploads ${name} into ${folder}`;
    const { body } = await call(title, 201, "POST", `${API}/docs/upload`, { token, file });
    documents.set(`${API}/docs/${body.doc_id}`, file);
    if (index > 0) continue;
    await call("once more: refused", 409, "POST", `${API}/docs/upload`, { token, file });
  }
  const { body } = await call("Salma lists her documents", 200, "GET", `${API}/docs/me`, { token });
  check(body.total, documents.size, "the documents in the list");
  return documents;
}

/** Each document waits for the OCR and comes back as it was, whole and in part. */
async function download(call: Client, token: string, documents: ReadonlyMap<string, Sample>) {
  for (const [path, { name, bytes }] of documents) {
    const { body } = await call(`${name} is queued`, 200, "GET", `${path}/status`, { token });
    check(body.status, "Queued", `the status of ${name}`);
    const whole = await call("and comes back", 200, "GET", `${path}/download`, { token });
    check(sha256(whole.bytes), sha256(bytes), `the SHA-256 of ${name}`);
    check(whole.headers.get("etag"), `"${sha256(bytes)}"`, `the ETag of ${name}`);
    const range = { token, range: "bytes=5-14" };
    const part = await call("or ten bytes of it", 206, "GET", `${path}/download`, range);
    check(sha256(part.bytes), sha256(bytes.subarray(5, 15)), `the SHA-256 of a part of ${name}`);
  }
}

/** Runs `work` with the address of a server of its own, and that server's administrator. */
async function withServer(work: (url: string, admin: Account) => Promise<void>): Promise<void> {
  const { SQL_SERVER = "", BOOTSTRAP_ADMIN_EMAIL, BOOTSTRAP_ADMIN_PASSWORD } = process.env;
  const isEmbedded = ["", "embedded"].includes(SQL_SERVER);
  // The server makes the first administrator. A database that is not new has others.
  const admin = isEmbedded
    ? newAccount("admin")
    : { email: BOOTSTRAP_ADMIN_EMAIL ?? "", password: BOOTSTRAP_ADMIN_PASSWORD ?? "" };
  if (!admin.email || !admin.password) {
    throw new Error("With SQL Server, set BOOTSTRAP_ADMIN_EMAIL and BOOTSTRAP_ADMIN_PASSWORD too.");
  }
  const folder = mkdtempSync(join(tmpdir(), "nassaq-demo-"));
  const given = Object.entries(process.env).filter(([name]) => PASSED_ON.test(name));
  const server = spawn(process.execPath, [SERVER], {
    cwd: folder,
    env: {
      ...Object.fromEntries(given),
      ...(isEmbedded ? { MIGRATE_ON_START: "yes" } : {}),
      ENVIRONMENT: "test",
      DATA_DIR: folder,
      HOST: "127.0.0.1",
      PORT: "0",
      ACCESS_TOKEN_EXPIRE_MINUTES: "60",
      AUTH_RATE_PER_ADDRESS: "0",
      AUTH_RATE_PER_ACCOUNT: "0",
      BOOTSTRAP_ADMIN_EMAIL: admin.email,
      BOOTSTRAP_ADMIN_PASSWORD: admin.password,
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(server, "close");
  const ready = Promise.withResolvers<string>();
  createInterface({ input: server.stdout }).on("line", (line) => {
    const { level, message, address } = JSON.parse(line);
    if (message === "ready" || level !== "info") print(line);
    if (message === "ready") ready.resolve(address);
  });
  try {
    const early = ended.then(([code]) => Promise.reject(new Error(`The server ended: ${code}`)));
    await Promise.race([early, ready.promise.then((url) => work(url, admin))]);
  } finally {
    server.kill();
    await ended;
    rmSync(folder, { recursive: true, force: true });
  }
}

try {
  if (existsSync(".env")) process.loadEnvFile(".env");
  await withServer(play);
  print("Every step was right.");
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}
