import { availableParallelism } from "node:os";
import { AppError } from "../errors.ts";
import { createPasswordPool } from "./password-pool.ts";

/**
 * bcrypt in worker threads. Every method rejects with the `unavailable` AppError (503, `Retry-After`) when too many wait
 * or the threads fail.
 */
export interface Passwords {
  /** A `$2b$` hash. Throws the `bad_request` AppError for a password that bcrypt can't take in whole. */
  hash(password: string): Promise<string>;
  /** Whether `password` made `hash` (`$2a$`, `$2b$` or `$2y$`). False, at the cost of a comparison, for any other text. */
  verify(password: string, hash: string): Promise<boolean>;
  /** False, at the cost of a comparison: for addresses that nobody has, so that time does not tell. */
  verifyNothing(password: string): Promise<false>;
  /** Ends the threads. */
  close(): Promise<void>;
}

/** bcrypt reads this many bytes of UTF-8 and silently ignores the rest. */
const MAX_BYTES = 72;

/** Costs above 16 take a thread for many seconds: this system has never written one. */
const HASH = /^\$2[aby]\$(?:0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}$/;

/** A NUL is refused as well: bcrypt repeats the key after one, so that "a" and "a NUL a" are the same password to it. */
function isUsable(password: string): boolean {
  return (
    Buffer.byteLength(password) <= MAX_BYTES && !password.includes("\0") && password.isWellFormed()
  );
}

/** `cost` is bcrypt's, log2 of its rounds; `queueLimit` counts those that wait, not those that a thread works on. */
export function createPasswords(
  options: { cost?: number; threads?: number; queueLimit?: number } = {},
): Passwords {
  const cost = options.cost ?? 12;
  const pool = createPasswordPool({
    threads: options.threads ?? Math.max(1, availableParallelism() - 1),
    queueLimit: options.queueLimit ?? 100,
  });
  const unmatched = `$2b$${String(cost).padStart(2, "0")}$${".".repeat(53)}`;

  async function compare(password: string, hash: string): Promise<boolean> {
    return (await pool.run({ kind: "compare", password, hash })) === true;
  }

  return {
    async hash(password) {
      if (!isUsable(password)) {
        throw new AppError(
          "bad_request",
          `A password has at most ${MAX_BYTES} bytes in UTF-8 and no NUL character.`,
        );
      }
      return String(await pool.run({ kind: "hash", password, cost }));
    },

    async verify(password, hash) {
      const usable = isUsable(password);
      const wellFormed = HASH.test(hash);
      const matches = await compare(usable ? password : "", wellFormed ? hash : unmatched);
      return matches && usable && wellFormed;
    },

    async verifyNothing(password) {
      await compare(isUsable(password) ? password : "", unmatched);
      return false;
    },

    close: () => pool.close(),
  };
}
