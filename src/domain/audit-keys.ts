import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import { insertHead, listHeads, updateWrappedKey } from "../data/audit.ts";
import { type Database, UniqueViolation } from "../data/database.ts";
import type { Logger } from "../log.ts";
import { type Epoch, headMac, START } from "./audit-macs.ts";

const CIPHER = "aes-256-gcm";
const TAG = { authTagLength: 16 };
const KEY_BYTES = 32;
const IV_BYTES = 12;

/** The first secret keeps the keys, the others still open them. */
export type Secrets = readonly [string, ...string[]];

/** HKDF (RFC 5869): the secret itself keys nothing. */
function wrappingKey(secret: string): Buffer {
  return Buffer.from(hkdfSync("sha256", secret, "", "NassaQ audit trail", KEY_BYTES));
}

/** In base64: initialisation vector, key, tag. */
function wrap(key: Buffer, secret: string): string {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv(CIPHER, wrappingKey(secret), iv, TAG);
  const wrapped = [iv, cipher.update(key), cipher.final(), cipher.getAuthTag()];
  return Buffer.concat(wrapped).toString("base64");
}

function unwrap(wrapped: string, secret: string): Buffer | undefined {
  const bytes = Buffer.from(wrapped, "base64");
  try {
    const iv = bytes.subarray(0, IV_BYTES);
    const decipher = createDecipheriv(CIPHER, wrappingKey(secret), iv, TAG);
    decipher.setAuthTag(bytes.subarray(-TAG.authTagLength));
    const key = bytes.subarray(IV_BYTES, -TAG.authTagLength);
    return Buffer.concat([decipher.update(key), decipher.final()]);
  } catch {
    return undefined;
  }
}

/** An epoch's key, and which of the secrets opened it; undefined when none does. */
export function openKey(wrapped: string, secrets: Secrets) {
  for (const [index, secret] of secrets.entries()) {
    const key = unwrap(wrapped, secret);
    if (key) return { key, index };
  }
  return undefined;
}

/**
 * The epochs that `secrets` open, at least one. The last one is written to. Every key is wrapped
 * anew under the first secret. A new epoch begins when there is none, or when the last one's key is
 * lost.
 */
export async function openEpochs(
  database: Database,
  secrets: Secrets,
  log: Logger,
): Promise<Epoch[]> {
  const heads = await listHeads(database);
  const epochs: Epoch[] = [];
  for (const { epoch: number, wrappedKey } of heads) {
    const opened = openKey(wrappedKey, secrets);
    if (!opened) continue;
    epochs.push({ number, key: opened.key });
    if (opened.index > 0) await updateWrappedKey(database, number, wrap(opened.key, secrets[0]));
  }
  const newest = heads.at(-1)?.epoch ?? 0;
  if (epochs.at(-1)?.number === newest) return epochs;
  const lost = "no key opens the audit trail: a new epoch begins, the old one can't be proven";
  if (newest > 0) log.error(lost, { epoch: newest });
  try {
    const next = { number: newest + 1, key: randomBytes(KEY_BYTES) };
    const wrappedKey = wrap(next.key, secrets[0]);
    const head = { epoch: next.number, wrappedKey, ...START, headMac: headMac(next, START) };
    await insertHead(database, head);
    return [...epochs, next];
  } catch (error) {
    if (!(error instanceof UniqueViolation)) throw error;
    // Another process was faster.
    return openEpochs(database, secrets, log);
  }
}
