import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type App, startApp } from "./app.ts";
import type { ConsumingBroker } from "./broker/broker.ts";
import { type Config, loadConfig } from "./config.ts";
import { deleteUser } from "./data/users.ts";
import { type Call, DemoFailure, request } from "./demo-client.ts";
import { createRegistration } from "./domain/registration.ts";
import type { Logger } from "./log.ts";
import { createPasswords } from "./security/passwords.ts";

/** What chooses a part. All else is set here: a demo shows the same whatever limits and keys the environment has. */
const CHOOSES_A_PART = /^(SQL_|MONGO_|BLOB_|MESSAGE_BROKER_URL$|OCR_QUEUE_NAME$|MIGRATE_ON_START$)/;

/**
 * The whole job against a real server over HTTP: starts one on a temporary folder and a free port, with the other parts as the
 * environment names them, prints a line a request, and removes what it made. Throws `DemoFailure` at the first answer that is
 * wrong.
 */
export async function runDemo(samples: string, print: (line: string) => void): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "nassaq-demo-"));
  let app: App | undefined;
  try {
    const config = configOf(folder);
    app = await startApp(config, printing(print));
    const run = randomBytes(3).toString("hex");
    const admin = { email: `admin-${run}@example.org`, password: newPassword() };
    const adminId = await makeAdmin(app, admin);
    try {
      await play(app, admin, config.queueName, run, samples, print);
    } finally {
      await app.database.transaction((tx) => deleteUser(tx, adminId));
    }
  } finally {
    await app?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  print("Every step was right.");
}

function configOf(folder: string): Config {
  const config = loadConfig({
    ...Object.fromEntries(
      Object.entries(process.env).filter(([name]) => CHOOSES_A_PART.test(name)),
    ),
    ENVIRONMENT: "test",
    DATA_DIR: folder,
    HOST: "127.0.0.1",
    PORT: "0",
    ACCESS_TOKEN_EXPIRE_MINUTES: "60",
    AUTH_RATE_PER_ADDRESS: "0",
    AUTH_RATE_PER_ACCOUNT: "0",
  });
  return {
    ...config,
    migrateOnStart: config.migrateOnStart || config.database.kind === "embedded",
  };
}

/** Not the first administrator of the configuration: the database may have others, whose passwords the demo can't know. */
async function makeAdmin(app: App, admin: { email: string; password: string }): Promise<number> {
  const passwords = createPasswords();
  try {
    const registration = createRegistration({
      database: app.database,
      passwords,
      now: () => new Date(),
    });
    return (await registration.createAdmin({ full_name: "Demo Administrator", ...admin })).userId;
  } finally {
    await passwords.close();
  }
}

function newPassword(): string {
  return `كلمة مرور 7 ${randomBytes(12).toString("base64url")}`;
}

/** The server's own log, of which the demo shows the `ready` line and what went wrong. */
function printing(print: (line: string) => void): Logger {
  const show = (message: string, fields = {}) => print(`  ${message} ${JSON.stringify(fields)}`);
  return {
    debug() {},
    info: (message, fields) => message === "ready" && show(message, fields),
    warn: show,
    error: show,
  };
}

async function play(
  app: App,
  admin: { email: string; password: string },
  queueName: string,
  run: string,
  samples: string,
  print: (line: string) => void,
): Promise<void> {
  const call = (method: string, path: string, options: Call) =>
    request(app.url, method, path, options, print);
  const login = async (who: string, email: string, password: string, status = 200) => {
    const form = { grant_type: "password", username: email, password };
    return (await call("POST", "/api/v1/auth/login", { title: `${who} logs in`, status, form }))
      .body;
  };
  const api = "/api/v1";
  const reader = { email: `salma-${run}@example.org`, password: newPassword() };

  await call("GET", "/", { title: "the server is alive", status: 204 });
  await call("GET", "/ready", { title: "and every part of it is ready", status: 200 });
  const { user_id: userId } = (
    await call("POST", `${api}/auth/register`, {
      title: "Salma registers",
      status: 201,
      json: { full_name: "Salma Haddad", ...reader },
    })
  ).body;
  await login("Salma, not yet let in,", reader.email, reader.password, 403);

  const { access_token: adminToken } = await login("the admin", admin.email, admin.password);
  const asAdmin = { token: adminToken };
  await call("GET", `${api}/users/pending`, {
    title: "the admin sees who waits",
    status: 200,
    ...asAdmin,
  });
  await call("PATCH", `${api}/users/${userId}`, {
    title: "gives Salma the role of a user",
    status: 200,
    json: { role_id: 1 },
    ...asAdmin,
  });
  await call("PATCH", `${api}/users/${userId}/activate`, {
    title: "and lets her in",
    status: 200,
    ...asAdmin,
  });
  const folders = [`archive-${run}`, `archive-${run}/رسائل`];
  const paths = [];
  for (const full_path of folders) {
    const { body } = await call("POST", `${api}/paths`, {
      title: `makes the folder ${full_path}`,
      status: 201,
      json: { full_path },
      ...asAdmin,
    });
    paths.push(body);
  }

  const { access_token: token, refresh_token: refreshToken } = await login(
    "Salma",
    reader.email,
    reader.password,
  );
  const documents = new Map<number, { name: string; bytes: Buffer }>();
  const names = readdirSync(samples).filter((name) => !name.endsWith(".md"));
  for (const [index, name] of names.entries()) {
    const file = {
      name,
      bytes: readFileSync(join(samples, name)),
      path: folders[index % folders.length] as string,
    };
    const { body } = await call("POST", `${api}/docs/upload`, {
      title: `uploads ${name} (${file.bytes.length} bytes) into ${file.path}`,
      status: 201,
      token,
      file,
    });
    documents.set(body.doc_id, file);
    if (index === 0) {
      await call("POST", `${api}/docs/upload`, {
        title: "once more, which is refused",
        status: 409,
        token,
        file,
      });
    }
  }
  const { body: mine } = await call("GET", `${api}/docs/me`, {
    title: "Salma lists her documents",
    status: 200,
    token,
  });
  expect(mine.total, documents.size, "documents in the list");
  await call("PATCH", `${api}/paths/${paths[0]?.id}`, {
    title: "the admin renames the first folder and all below it",
    status: 200,
    json: { full_path: `archive-${run}-2026` },
    ...asAdmin,
  });
  for (const [docId, { name, bytes }] of documents) {
    const status = await call("GET", `${api}/docs/${docId}/status`, {
      title: `${name} is queued`,
      status: 200,
      token,
    });
    expect(status.body.status, "Queued", `the status of ${name}`);
    const download = await call("GET", `${api}/docs/${docId}/download`, {
      title: `${name} comes back`,
      status: 200,
      token,
    });
    expect(sha256(download.bytes), sha256(bytes), `the SHA-256 of ${name}`);
    expect(download.headers.get("etag"), `"${sha256(bytes)}"`, `the ETag of ${name}`);
  }
  const [first] = documents;
  if (!first) throw new DemoFailure(`There are no sample files in ${samples}.`);
  const range = { Range: "bytes=5-14" };
  const part = await call("GET", `${api}/docs/${first[0]}/download`, {
    title: "or ten bytes of it",
    status: 206,
    token,
    headers: range,
  });
  expect(
    sha256(part.bytes),
    sha256(first[1].bytes.subarray(5, 15)),
    `the SHA-256 of a part of ${first[1].name}`,
  );
  await call("POST", `${api}/auth/refresh`, {
    title: "Salma's client renews its token",
    status: 200,
    token: refreshToken,
  });
  await showQueue(app, queueName, [...documents.keys()], print);
  for (const [docId, { name }] of documents) {
    const title = `the admin deletes ${name}`;
    await call("DELETE", `${api}/docs/${docId}?force=true`, { title, status: 200, ...asAdmin });
  }
  await call("GET", `${api}/docs/${first[0]}/status`, {
    title: "which is gone",
    status: 404,
    token,
  });
  for (const { id } of paths.reverse()) {
    await call("DELETE", `${api}/paths/${id}`, {
      title: "the admin deletes a folder",
      status: 204,
      ...asAdmin,
    });
  }
  await call("DELETE", `${api}/users/${userId}`, { title: "and Salma", status: 204, ...asAdmin });
  await call("GET", `${api}/users/me`, {
    title: "whose token is worth nothing now",
    status: 401,
    token,
  });
}

/** On the embedded broker, reads the queue as a worker would; another broker's queue may be a real worker's. */
async function showQueue(
  app: App,
  queueName: string,
  docIds: number[],
  print: (line: string) => void,
): Promise<void> {
  if (!app.broker.description.startsWith("embedded")) {
    print(`${docIds.length} messages were given to the broker for the worker`);
    return;
  }
  const waiting = new Set(docIds);
  const all = Promise.withResolvers<void>();
  const timer = setTimeout(
    () => all.reject(new DemoFailure("The messages did not come within 10 s.")),
    10_000,
  );
  const broker = app.broker as ConsumingBroker;
  const consumer = await broker.consume(
    queueName,
    async ({ body }) => {
      const message = JSON.parse(body);
      print(`${queueName} holds ${body}`);
      if (!waiting.delete(message.doc_id))
        all.reject(new DemoFailure(`An unknown message: ${body}`));
      if (waiting.size === 0) all.resolve();
    },
    { prefetch: 1 },
  );
  try {
    await all.promise;
  } finally {
    clearTimeout(timer);
    await consumer.cancel();
  }
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function expect(actual: unknown, expected: unknown, what: string): void {
  if (actual !== expected)
    throw new DemoFailure(`Expected ${what} to be ${expected}, got ${actual}.`);
}
