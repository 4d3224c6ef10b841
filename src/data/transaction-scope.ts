import { AsyncLocalStorage } from "node:async_hooks";
import type { Queryable } from "./database.ts";

/** Keeps the rules of a transaction callback, the same for every engine. One scope a database. */
export interface TransactionScope {
  /**
   * Throws inside the `work` of an open transaction of this database: there the database itself would wait for the
   * transaction, and the transaction for it.
   */
  assertOutside(): void;
  /**
   * Runs `work` with a `tx` that sends one statement at a time, none after `work` has ended and none after one failed.
   * Resolves when no statement is under way any more; rejects with what `work` threw, else with the first failure.
   */
  run<Result>(statements: Queryable, work: (tx: Queryable) => Promise<Result>): Promise<Result>;
}

export function createTransactionScope(): TransactionScope {
  const current = new AsyncLocalStorage<{ open: boolean }>();

  function assertOutside(): void {
    if (current.getStore()?.open)
      throw new Error("Inside a transaction only its own `tx` may be used");
  }

  async function run<Result>(
    statements: Queryable,
    work: (tx: Queryable) => Promise<Result>,
  ): Promise<Result> {
    const state = { open: true };
    let failure: { error: unknown } | undefined;
    let last: Promise<unknown> = Promise.resolve();

    function send<T>(statement: () => Promise<T>): Promise<T> {
      if (!state.open) return Promise.reject(new Error("This transaction has ended"));
      const result = last.then(async () => {
        if (failure) throw new Error("An earlier statement failed", { cause: failure.error });
        try {
          return await statement();
        } catch (error) {
          failure = { error };
          throw error;
        }
      });
      last = result.catch(() => {});
      return result;
    }

    const tx: Queryable = {
      all: (sql, params) => send(() => statements.all(sql, params)),
      first: (sql, params) => send(() => statements.first(sql, params)),
      page: (sql, params, window) => send(() => statements.page(sql, params, window)),
      run: (sql, params) => send(() => statements.run(sql, params)),
      insert: (table, values, identity) => send(() => statements.insert(table, values, identity)),
      columns: (table) => send(() => statements.columns(table)),
    };
    try {
      const result = await current.run(state, async () => await work(tx));
      await last;
      if (failure) throw failure.error;
      return result;
    } finally {
      state.open = false;
      await last;
    }
  }

  return { assertOutside, run };
}
