import { availableParallelism } from "node:os";
import { AppError } from "../errors.ts";
import { createPasswordPool } from "./password-pool.ts";

/** bcrypt reads this many bytes of UTF-8 and silently ignores the rest. */
const MAX_BYTES = 72;

/** Costs above 16 take a thread for many seconds: this system has never written one. */
const HASH = /^\$2[aby]\$(?:0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}$/;

/** After a NUL bcrypt repeats the key: "a" and "a NUL a" would be the same password. */
function isUsable(password: string): boolean {
  const size = Buffer.byteLength(password);
  return size <= MAX_BYTES && !password.includes("\0") && password.isWellFormed();
}

export type Passwords = ReturnType<typeof createPasswords>;

/**
 * bcrypt in worker threads. Every method rejects with `unavailable` (503, `Retry-After`) when too
 * many wait or the threads fail. `cost` is bcrypt's, log2 of its rounds; `queueLimit` counts those
 * that wait, not those that a thread works on.
 */
export function createPasswords({
  cost = 12,
  threads = Math.max(1, availableParallelism() - 1),
  queueLimit = 100,
} = {}) {
  const pool = createPasswordPool(threads, queueLimit);
  const unmatched = `$2b$${String(cost).padStart(2, "0")}$${".".repeat(53)}`;

  return {
    /** A `$2b$` hash. Throws `bad_request` for a password that bcrypt can't take in whole. */
    async hash(password: string): Promise<string> {
      if (!isUsable(password)) {
        const detail = `A password has at most ${MAX_BYTES} bytes in UTF-8 and no NUL character.`;
        throw new AppError("bad_request", detail);
      }
      return String(await pool.run({ kind: "hash", password, cost }));
    },

    /**
     * Whether `password` made `hash` (`$2a$`, `$2b$` or `$2y$`). False, at the cost of a
     * comparison, for any other text and for none: time does not tell whether there is such a user.
     */
    async verify(password: string, hash = ""): Promise<boolean> {
      const [usable, wellFormed] = [isUsable(password), HASH.test(hash)];
      const job = { password: usable ? password : "", hash: wellFormed ? hash : unmatched };
      const matches = await pool.run({ kind: "compare", ...job });
      return matches === true && usable && wellFormed;
    },

    /** Ends the threads. */
    close: (): Promise<void> => pool.close(),
  };
}
