import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { compare as compareHash } from "bcryptjs";
import type { Ledger, Upload } from "./ledger.ts";
import type { QueuedMessage, StoredBlob, Stores } from "./parts.ts";

interface DocumentRow {
  id: number;
  filename: string;
  size: number;
  sha256: string;
  userId: number;
  key: string;
  /** Rows of the stage OCR, and of the audit trail's upload. */
  stages: number;
  audits: number;
}

/** Everything that a server keeps, as its database, storage and queue have it. */
export interface Snapshot {
  documents: DocumentRow[];
  outbox: (QueuedMessage & { claim: string | null })[];
  queue: QueuedMessage[];
  /** Blob keys of deletions that are noted. */
  notes: string[];
  blobs: Map<string, StoredBlob>;
  strays: string[];
  paths: Map<number, string>;
  /** Password hashes by address. */
  users: Map<string, string>;
  /** What SQLite says of its own file. */
  damage: string[];
}

/** Looks at the database file in `folder` first: what is added or removed later is asked again. */
export async function look(folder: string, stores: Stores): Promise<Snapshot> {
  const database = new DatabaseSync(join(folder, "nassaq.db"), { readOnly: true });
  const all = <Row>(sql: string) => database.prepare(sql).all() as unknown as Row[];
  const queue = await stores.messages();
  const { blobs, strays } = await stores.blobs();
  try {
    database.exec("BEGIN");
    return {
      queue,
      blobs,
      strays,
      documents: all(`SELECT d.doc_id AS id, filename, file_size AS size, sha256,
          uploaded_by_user_id AS userId, blob_key AS "key",
          COALESCE(s.n, 0) AS stages, COALESCE(l.n, 0) AS audits
        FROM Documents d
        LEFT JOIN (SELECT doc_id, COUNT(*) AS n FROM Processing_Status
          WHERE stage_name = 'OCR' AND status = 'Queued' GROUP BY doc_id) s ON s.doc_id = d.doc_id
        LEFT JOIN (SELECT entity_id, COUNT(*) AS n FROM Logs
          WHERE action_type = 'document_upload' GROUP BY entity_id) l ON l.entity_id = d.doc_id`),
      outbox: all(`SELECT message_id AS id, body, claimed_by AS claim FROM Outbox`),
      notes: all<{ key: string }>(`SELECT blob_key AS "key" FROM Deletions`).map(({ key }) => key),
      paths: new Map(
        all<{ id: number; name: string }>(
          "SELECT path_id AS id, full_path AS name FROM Virtual_Paths",
        ).map(({ id, name }) => [id, name]),
      ),
      users: new Map(
        all<{ email: string; hash: string }>("SELECT email, password_hash AS hash FROM Users").map(
          ({ email, hash }) => [email, hash],
        ),
      ),
      damage: [
        ...all<{ integrity_check: string }>("PRAGMA integrity_check")
          .map((row) => row.integrity_check)
          .filter((line) => line !== "ok"),
        ...all("PRAGMA foreign_key_check").map((row) => `broken reference ${JSON.stringify(row)}`),
      ],
    };
  } finally {
    database.close();
  }
}

/** What does not agree with what clients were told, one line a finding. */
export async function compare(ledger: Ledger, seen: Snapshot): Promise<string[]> {
  return [
    ...ledger.complaints,
    ...seen.damage,
    ...compareDocuments(ledger, seen),
    ...compareMessages(ledger, seen),
    ...findLeftovers(seen),
    ...comparePaths(ledger, seen),
    ...(await compareAccounts(ledger, seen)),
  ];
}

function compareDocuments(ledger: Ledger, { documents, blobs }: Snapshot): string[] {
  const findings: string[] = [];
  const rows = Map.groupBy(documents, ({ filename }) => filename);
  for (const { filename, stored, deleted } of ledger.uploads.values()) {
    const count = rows.get(filename)?.length ?? 0;
    if (count > 1) findings.push(`a document ${count} times: ${filename}`);
    if (count === 0 && stored === "yes" && deleted === "no")
      findings.push(`lost document: ${filename}`);
    if (count > 0 && stored === "no") findings.push(`ghost row of a refused upload: ${filename}`);
    if (count > 0 && deleted === "yes") findings.push(`row of a deleted document: ${filename}`);
  }
  for (const row of documents) {
    const upload = ledger.uploads.get(row.filename);
    const blob = blobs.get(row.key);
    if (!upload) findings.push(`ghost row that nobody uploaded: ${row.filename}`);
    else if (!describes(row, upload)) findings.push(`wrong row: ${JSON.stringify(row)}`);
    if (!blob) findings.push(`orphan row, without blob: ${row.filename}`);
    else if (upload && blob.size !== upload.size)
      findings.push(`wrong size, ${blob.size} for ${upload.size}: ${row.filename}`);
    else if (upload && blob.sha256 !== upload.sha256) findings.push(`wrong bytes: ${row.filename}`);
    if (row.stages !== 1) findings.push(`${row.stages} queued stages: ${row.filename}`);
    if (row.audits !== 1) findings.push(`${row.audits} audited uploads: ${row.filename}`);
  }
  return findings;
}

const describes = (row: DocumentRow, upload: Upload) =>
  row.size === upload.size &&
  row.sha256 === upload.sha256 &&
  row.userId === upload.userId &&
  (upload.docId === undefined || row.id === upload.docId);

function compareMessages(ledger: Ledger, { documents, outbox, queue }: Snapshot): string[] {
  const findings: string[] = [];
  const messages = new Map<string, { doc_id: number; file_path: string; user_id: number }>();
  for (const { body } of [...outbox, ...queue]) {
    const message = JSON.parse(body);
    messages.set(message.filename, message);
    const fields = Object.keys(message).join();
    if (fields !== "doc_id,file_path,filename,user_id") findings.push(`message with ${fields}`);
  }
  const rows = new Map(documents.map((row) => [row.filename, row]));
  for (const row of documents) {
    const message = messages.get(row.filename);
    const url = ledger.uploads.get(row.filename)?.url;
    if (!message) findings.push(`missing message: ${row.filename}`);
    else if (
      message.doc_id !== row.id ||
      message.user_id !== row.userId ||
      !decodeURIComponent(message.file_path).replace("%~", "/").endsWith(`/${row.key}`) ||
      (url !== undefined && message.file_path !== url)
    )
      findings.push(`wrong message: ${JSON.stringify(message)}`);
  }
  for (const filename of messages.keys()) {
    const mayBeDeleted = (ledger.uploads.get(filename)?.deleted ?? "no") !== "no";
    if (!rows.has(filename) && !mayBeDeleted) findings.push(`ghost message: ${filename}`);
  }
  return findings;
}

/** What must be gone once the server had its time to clean. */
function findLeftovers({ documents, outbox, notes, blobs, strays }: Snapshot): string[] {
  const named = new Set(documents.map(({ key }) => key));
  const noted = new Set(notes);
  return [
    ...outbox.map(({ body, claim }) => `message not sent (claimed by ${claim}): ${body}`),
    ...notes.map((key) => `noted deletion: ${key}`),
    ...[...blobs.keys()]
      .filter((key) => !named.has(key))
      .map((key) => `blob without row${noted.has(key) ? "" : " or note"}: ${key}`),
    ...strays,
  ];
}

function comparePaths(ledger: Ledger, { paths }: Snapshot): string[] {
  const findings: string[] = [];
  for (const tree of ledger.trees) {
    const seen = tree.paths.map(({ id }) => paths.get(id));
    const isWhole = (top: string) =>
      tree.paths.every(({ suffix }, index) => seen[index] === top + suffix);
    if (![...tree.names].some(isWhole))
      findings.push(`paths are ${seen.join(", ")}; the top was named ${[...tree.names].join()}`);
  }
  return findings;
}

async function compareAccounts(ledger: Ledger, { users }: Snapshot): Promise<string[]> {
  const findings: string[] = [];
  for (const { email, registered, passwords, hasChanged } of ledger.accounts) {
    const hash = users.get(email);
    if (hash === undefined && registered === "yes") findings.push(`lost account: ${email}`);
    if (hash !== undefined && registered === "no") findings.push(`ghost account: ${email}`);
    if (hash === undefined || !hasChanged) continue;
    const tries = await Promise.all(Array.from(passwords, (one) => isHashOf(one, hash)));
    if (!tries.includes(true)) findings.push(`a password neither old nor new: ${email}`);
  }
  return findings;
}

const compared = new Map<string, Promise<boolean>>();

/** A third of a second, so each pair is compared once. */
function isHashOf(password: string, hash: string): Promise<boolean> {
  const pair = `${hash} ${password}`;
  const known = compared.get(pair) ?? compareHash(password, hash);
  compared.set(pair, known);
  return known;
}
