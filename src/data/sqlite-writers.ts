import type { DatabaseSync } from "node:sqlite";
import { setImmediate as nextTurn } from "node:timers/promises";
import { unavailable } from "../errors.ts";
import { OutcomeUnknown } from "./database.ts";

/** Of writers in one batch. */
const MAX_BATCH = 100;
/** In ms. Later in a batch no other writer begins. */
const LONGEST_BATCH = 10;
/** IOERR_FSYNC (https://www.sqlite.org/rescode.html). */
const UNSYNCED_CODE = 1034;

interface Writer {
  /** Sends the statements of a transaction or a single one. */
  work(): Promise<unknown>;
  durable: boolean;
  /** A single one, which SQLite undoes by itself when it fails. */
  isStatement: boolean;
  resolve(result: unknown): void;
  reject(error: unknown): void;
}

/**
 * Group commit: writers that wait together share one transaction, each in a savepoint, and one wait
 * for the disk. Each is answered after the commit. One that fails is undone alone; a commit that
 * fails, or a transaction that SQLite undoes by itself, fails all that have run in it.
 */
export function createWriters(
  connection: DatabaseSync,
  execute: (text: string) => Promise<unknown>,
) {
  let waiting: Writer[] = [];
  let batch: Promise<void> | undefined;
  let all: Promise<void> | undefined;

  async function runAll() {
    while (waiting.length > 0) {
      // As long as each turn brings more of them.
      for (let seen = 0; seen < Math.min(waiting.length, MAX_BATCH); await nextTurn())
        seen = waiting.length;
      batch = runBatch(waiting.splice(0, MAX_BATCH));
      await batch;
      batch = undefined;
    }
    all = undefined;
  }

  async function runBatch(writers: Writer[]) {
    const isShared = writers.length > 1;
    const isDurable = writers.some(({ durable }) => durable);
    const answers: (() => void)[] = [];
    let begun = writers.length;
    try {
      // In WAL mode the commit is then in the log, which the next durable one syncs.
      if (!isDurable) await execute("PRAGMA synchronous = NORMAL");
      const isTransaction = isShared || !writers[0]?.isStatement;
      if (isTransaction) await execute("BEGIN IMMEDIATE");
      const end = performance.now() + LONGEST_BATCH;
      for (begun = 0; begun < writers.length && (begun === 0 || performance.now() < end); )
        answers.push(await runWriter(writers[begun++] as Writer, isShared));
      if (isTransaction) await execute("COMMIT").catch(rethrowUnsynced);
    } catch (error) {
      for (const { reject } of writers.slice(0, begun)) reject(error);
      // SQLite may have rolled back by itself (disk full).
      if (connection.isOpen && connection.isTransaction) await execute("ROLLBACK").catch(() => {});
    }
    if (!isDurable) await execute("PRAGMA synchronous = FULL").catch(() => {});
    for (const answer of answers) answer();
    waiting = [...writers.slice(begun), ...waiting];
  }

  /** Returns the answer for after the commit. Throws when the whole batch has failed. */
  async function runWriter({ work, isStatement, ...writer }: Writer, isShared: boolean) {
    const isNested = isShared && !isStatement;
    if (isNested) await execute("SAVEPOINT writer");
    try {
      const result = await work();
      if (isNested) await execute("RELEASE writer");
      return () => writer.resolve(result);
    } catch (error) {
      writer.reject(error);
      if (!isShared || !connection.isTransaction) throw unavailable("The database", error);
      if (isNested) await execute("ROLLBACK TO writer");
      if (isNested) await execute("RELEASE writer");
      return () => {};
    }
  }

  return {
    write: <Result>(work: () => Promise<Result>, durable: boolean, isStatement: boolean) =>
      new Promise<Result>((resolve, reject) => {
        const answers = { resolve: resolve as Writer["resolve"], reject };
        waiting.push({ work, durable, isStatement, ...answers });
        all ??= runAll();
      }),
    /** Ends when no transaction is open. */
    async endOfTransaction() {
      while (batch && connection.isTransaction) await batch;
    },
    /** Ends when no writer is left. */
    end: () => all,
  };
}

/** The commit is in the log, and a restart may find it there or not. */
function rethrowUnsynced(error: unknown): never {
  const { cause } = error as { cause?: { errcode?: number } };
  if (cause?.errcode !== UNSYNCED_CODE) throw error;
  const unknown = new OutcomeUnknown("The commit may not be on the disk", { cause });
  throw unavailable("The database", unknown);
}
