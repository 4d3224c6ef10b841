// The whole job over HTTP, as any client may do it: `npm run demo`. Starts the built server on a
// temporary folder and a free port, with the other parts as the environment or `.env` names them,
// prints a line a request, ends at the first wrong answer, and removes at the end what it made.

import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type Body, type Client, clientOf, print, type Sample } from "./client.ts";

const SERVER = join(import.meta.dirname, "../dist/main.js");
const SAMPLES = join(import.meta.dirname, "../test/samples");
const API = "/api/v1";
/** All that the server gets of the environment: its limits and keys change nothing here. */
const PASSED_ON =
  /^(SQL_|MONGO_|BLOB_|MESSAGE_BROKER_|PROCESSING_|OCR_QUEUE_|MIGRATE_|NODE_EXTRA_CA_CERTS$)/;
/** What is searched for, and the samples in which it is. */
const SEARCHES = [
  ['"حفظ هذه الوثيقة"', "letter-scan.png, scanned.pdf"],
  ["invoice 4471", "invoice-scan.jpg, scanned.pdf"],
] as const;
/** How long a document may wait for its text, in milliseconds. */
const READ_TIMEOUT = 600_000;

interface Account {
  email: string;
  password: string;
}

/** The embedded broker brings a worker where the engines are installed. */
function hasWorker(): boolean {
  try {
    createRequire(SERVER).resolve("tesseract.js-core");
    return ["", "embedded"].includes(process.env.MESSAGE_BROKER_URL ?? "");
  } catch {
    return false;
  }
}

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
  const isRead = hasWorker();
  if (isRead) await read(call, tokens.access_token, documents);
  else print("No OCR worker runs beside this server: the documents stay queued.");
  const refresh = { token: tokens.refresh_token };
  await call("Salma's client renews its token", 200, "POST", `${API}/auth/refresh`, refresh);

  for (const [path, { name }] of documents) {
    const deletion = `${path}?force=${!isRead}`;
    await call(`the admin deletes ${name}`, 200, "DELETE", deletion, { token });
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

/** Each document comes back as it was, whole and in part. */
async function download(call: Client, token: string, documents: ReadonlyMap<string, Sample>) {
  for (const [path, { name, bytes }] of documents) {
    const whole = await call(`${name} comes back`, 200, "GET", `${path}/download`, { token });
    check(sha256(whole.bytes), sha256(bytes), `the SHA-256 of ${name}`);
    check(whole.headers.get("etag"), `"${sha256(bytes)}"`, `the ETag of ${name}`);
    const range = { token, range: "bytes=5-14" };
    const part = await call("or ten bytes of it", 206, "GET", `${path}/download`, range);
    check(sha256(part.bytes), sha256(bytes.subarray(5, 15)), `the SHA-256 of a part of ${name}`);
  }
}

/** Each document becomes text, page by page, and the text is found. */
async function read(call: Client, token: string, documents: ReadonlyMap<string, Sample>) {
  for (const [path, { name }] of documents) {
    await finish(call, token, path, name);
    const { body } = await call("and here is its text:", 200, "GET", `${path}/content`, { token });
    print(`    ${body.extracted_text.replace(/\s+/g, " ").trim().slice(0, 72)}`);
  }
  for (const [q, names] of SEARCHES) {
    const path = `${API}/docs/search?q=${encodeURIComponent(q)}`;
    const { body } = await call("Salma searches", 200, "GET", path, { token });
    for (const { filename, snippet } of body.items) print(`    ${filename}: ${marked(snippet)}`);
    const found = body.items.map(({ filename }) => filename).sort();
    check(found.join(", "), names, `what is found for ${q}`);
  }
}

/** Waits until a document is read: each answer comes when something has changed. */
async function finish(call: Client, token: string, path: string, name: string): Promise<void> {
  const progress = ({ status, pages_done, pages_total }: Body) =>
    `${name}: ${status}${pages_total ? `, ${pages_done} of ${pages_total} pages` : ""}`;
  const deadline = Date.now() + READ_TIMEOUT;
  const options = { token, prefer: "wait=20" };
  for (;;) {
    const { body } = await call(progress, 200, "GET", `${path}/status`, options);
    if (body.status === "Finished") return;
    check(body.error_message, null, `the error of ${name}`);
    if (Date.now() > deadline) throw new Error(`${name} was not read within ${READ_TIMEOUT} ms`);
  }
}

/** A snippet with its hits in brackets. */
function marked({ text, marks }: { text: string; marks: [number, number][] }): string {
  let result = "";
  let last = 0;
  for (const [start, end] of marks) {
    result += `${text.slice(last, start)}[${text.slice(start, end)}]`;
    last = end;
  }
  return (result + text.slice(last)).replace(/\s+/g, " ");
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
