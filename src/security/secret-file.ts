import { randomBytes, randomUUID } from "node:crypto";
import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** The signing key of an installation that was given none, kept in `dataDir` with mode 600. */
export function readOrMakeSecret(dataDir: string): string {
  mkdirSync(dataDir, { recursive: true });
  const file = join(dataDir, "jwt-secret");
  if (!existsSync(file)) make(file);
  return readFileSync(file, "utf8");
}

/** Complete before it gets its name. The first of two stays. */
function make(file: string): void {
  const draft = `${file}-${randomUUID()}`;
  try {
    writeFileSync(draft, randomBytes(48).toString("base64url"), { mode: 0o600, flush: true });
    linkSync(draft, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}
