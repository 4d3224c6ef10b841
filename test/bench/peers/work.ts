import { createHash, createHmac, createSecretKey, randomUUID, timingSafeEqual } from "node:crypto";
import { createReadStream, createWriteStream, mkdirSync, type ReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

/** The work that the peers do for a request: the least that gives the server's answer. */
const { DATA_DIR: folder = "", JWT_SECRET_KEY: secret = "" } = process.env;
export const listensOn = { host: process.env.HOST ?? "", port: Number(process.env.PORT) };
export const isLogging = process.env.LOG_LEVEL === "info";

const files = join(folder, "files");
mkdirSync(files, { recursive: true });
const key = createSecretKey(secret, "utf8");
const database = new DatabaseSync(join(folder, "nassaq.db"));
database.exec(`PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
  CREATE INDEX IF NOT EXISTS Bench_by_owner ON Documents (uploaded_by_user_id, doc_id)`);

export interface User {
  user_id: number;
  is_active: boolean;
}

const selectUser = database.prepare(`SELECT u.user_id, u.full_name, u.email, u.username,
    r.role_name AS role, u.role_id, u.is_active, u.created_at
  FROM Users u JOIN Sessions s ON s.session_id = ? AND s.user_id = u.user_id
  LEFT JOIN Roles r ON r.role_id = u.role_id
  WHERE u.user_id = ? AND s.revoked_at IS NULL`);

/** The user of an HS256 token, by one look-up that also asks for a live session. */
export function authenticate(authorization = ""): User | undefined {
  const [header, payload = "", signature = ""] = authorization.slice("Bearer ".length).split(".");
  const expected = createHmac("sha256", key).update(`${header}.${payload}`).digest();
  const given = Buffer.from(signature, "base64url");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
  const { sub, sid, exp } = JSON.parse(Buffer.from(payload, "base64url").toString());
  if (exp < Date.now() / 1000) return undefined;
  const user = selectUser.get(sid, Number(sub));
  return user && { ...user, user_id: Number(user.user_id), is_active: user.is_active === 1 };
}

const countOwn = database.prepare(
  "SELECT COUNT(*) AS total FROM Documents WHERE uploaded_by_user_id = ?",
);
const pageOfOwn = database.prepare(`SELECT d.doc_id, d.filename, p.full_path AS path,
    d.uploaded_by_user_id, u.full_name AS uploaded_by, d.uploaded_at,
    COALESCE(s.status, 'Queued') AS status, s.error_message, d.file_size AS size, d.content_type
  FROM (SELECT doc_id AS id FROM Documents WHERE uploaded_by_user_id = ?
    ORDER BY doc_id DESC LIMIT ? OFFSET ?)
  JOIN Documents d ON d.doc_id = id
  JOIN Virtual_Paths p ON p.path_id = d.path_id
  JOIN Users u ON u.user_id = d.uploaded_by_user_id
  LEFT JOIN Processing_Status s ON s.status_id = (SELECT MAX(x.status_id)
    FROM Processing_Status x WHERE x.doc_id = d.doc_id AND x.stage_name = 'OCR')
  ORDER BY d.doc_id DESC`);

/** By its own best SQL: an index in the order of the list, joins for the page alone. */
export function ownDocuments(userId: number, limit: number, skip: number) {
  return { ...countOwn.get(userId), items: pageOfOwn.all(userId, limit, skip) };
}

const insertDocument = database.prepare(`INSERT INTO Documents (filename, path_id,
    uploaded_by_user_id, mongo_doc_id, uploaded_at, updated_at, file_size, content_type, sha256,
    blob_key) VALUES (?, 1, ?, 'pending', ?, ?, ?, 'application/octet-stream', ?, ?)`);
const insertStage = database.prepare(
  "INSERT INTO Processing_Status (doc_id, stage_name, status) VALUES (?, 'OCR', 'Queued')",
);
const insertLog = database.prepare(`INSERT INTO Logs
  (log_timestamp, action_type, user_id, entity_id) VALUES (?, 'document_upload', ?, ?)`);

/** File, folder and rows are on the disk when it returns: three fsyncs. */
export async function keep(body: Readable, filename: string, userId: number) {
  const blob = randomUUID();
  const hash = createHash("sha256");
  let size = 0;
  body.on("data", (chunk) => {
    hash.update(chunk);
    size += chunk.length;
  });
  await pipeline(body, createWriteStream(join(files, blob), { flush: true }));
  const handle = await open(files);
  await handle.sync();
  await handle.close();
  const now = new Date().toISOString();
  database.exec("BEGIN IMMEDIATE");
  const sha256 = hash.digest("hex");
  const { lastInsertRowid: doc_id } = insertDocument.run(
    ...[filename, userId, now, now, size, sha256, blob],
  );
  insertStage.run(doc_id);
  insertLog.run(now, userId, doc_id);
  database.exec("COMMIT");
  return { doc_id: Number(doc_id), filename, size, sha256 };
}

const selectDocument = database.prepare(
  "SELECT blob_key, file_size FROM Documents WHERE doc_id = ? AND uploaded_by_user_id = ?",
);

/** The bytes of an own document. */
export function openDocument(docId: string, userId: number): { size: number; stream: ReadStream } {
  const row = selectDocument.get(docId, userId);
  return {
    size: Number(row?.file_size),
    stream: createReadStream(join(files, `${row?.blob_key}`)),
  };
}
