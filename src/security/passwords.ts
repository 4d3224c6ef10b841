import { availableParallelism } from "node:os";
import { AppError } from "../errors.ts";
import { createPasswordPool } from "./password-pool.ts";

/** A cost above 16 would take a thread for many seconds. */
const HASH = /^\$2[aby]\$(?:0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}$/;

/** bcrypt ignores what is after 72 bytes, and repeats the key after a NUL. */
const isUsable = (password: string) =>
  Buffer.byteLength(password) <= 72 && !password.includes("\0") && password.isWellFormed();

export type Passwords = ReturnType<typeof createPasswords>;

/**
 * bcrypt in worker threads; 503 when too many wait or one fails. `cost` is log2 of the rounds. An
 * aborted `signal` gives up what waits.
 */
export function createPasswords({
  cost = 12,
  threads = Math.max(1, availableParallelism() - 1),
  queueLimit = 100,
  queueMs = 10_000,
} = {}) {
  const pool = createPasswordPool(threads, queueLimit, queueMs);
  const unmatched = `$2b$${String(cost).padStart(2, "0")}$${".".repeat(53)}`;

  return {
    /** A `$2b$` hash. 400 for a password that bcrypt can't take in whole. */
    async hash(password: string, signal?: AbortSignal): Promise<string> {
      if (!isUsable(password)) {
        const detail = "A password has at most 72 bytes in UTF-8 and no NUL character.";
        throw new AppError("bad_request", detail);
      }
      return String(await pool.run({ kind: "hash", password, cost }, signal));
    },

    /**
     * Whether `password` made `hash` (`$2a$`, `$2b$` or `$2y$`). Without a hash it takes as long:
     * time does not tell whether there is such a user.
     */
    async verify(password: string, hash = "", signal?: AbortSignal): Promise<boolean> {
      const [usable, wellFormed] = [isUsable(password), HASH.test(hash)];
      const job = { password: usable ? password : "", hash: wellFormed ? hash : unmatched };
      const matches = await pool.run({ kind: "compare", ...job }, signal);
      return matches === true && usable && wellFormed;
    },

    /** How many jobs wait for a thread. */
    waiting: pool.waiting,

    close: pool.close,
  };
}
