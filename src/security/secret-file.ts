import { randomBytes, randomUUID } from "node:crypto";
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * The signing key of an installation that was given none: made at the first start, kept in `dataDir`, readable by its owner only. Throws
 * the system's error when the folder can't be written.
 */
export function readOrMakeSecret(dataDir: string): string {
  mkdirSync(dataDir, { recursive: true });
  const file = join(dataDir, "jwt-secret");
  return read(file) ?? make(dataDir, file);
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Complete before it gets its name, so that a crash leaves no half of a key; of two processes the first one's key stays. */
function make(dataDir: string, file: string): string {
  const draft = join(dataDir, `jwt-secret-${randomUUID()}`);
  try {
    writeFileSync(draft, randomBytes(48).toString("base64url"), { mode: 0o600, flush: true });
    linkSync(draft, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    rmSync(draft, { force: true });
  }
  return readFileSync(file, "utf8");
}
