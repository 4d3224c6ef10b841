import sql from "mssql";
import { unavailable } from "../errors.ts";
import { ForeignKeyViolation, OutcomeUnknown, UniqueViolation } from "./database.ts";

/**
 * What a failure means for trying again. `undone`: the server said that the statement did nothing. `lost`: nobody knows whether
 * it did. `unconnected`: it was never sent, and may be later. `refused`: it was never sent, and won't be.
 */
export type Failure = "undone" | "lost" | "unconnected" | "refused";

/** https://learn.microsoft.com/en-us/azure/azure-sql/database/troubleshoot-common-errors-issues, and locks: 1204, 1205, 1222. */
const UNDONE = new Set([
  1204, 1205, 1222, 4060, 10928, 10929, 40501, 40613, 42108, 42109, 49918, 49919, 49920,
]);
/** Transient ones that come with a broken connection or a failover, when a statement may have been done before. */
const LOST = new Set([233, 997, 4221, 10060, 40143, 40197, 40540]);
/** Failures before a statement was sent that another attempt won't mend: login, encryption, protocol, a closed pool. */
const REFUSED_CODES = new Set([
  "ELOGIN",
  "EENCRYPT",
  "ETDS",
  "EINTERFACENOTSUPP",
  "ENOTOPEN",
  "ECONNCLOSED",
]);
/**
 * A misuse of the driver. Anything else that has no number of the server's, with whatever code (the driver's, the
 * socket's, or EREQUEST where an encrypted connection was ended in good order), broke the conversation.
 */
const MISUSE_CODES = new Set(["EPARAM", "EARGS", "ENOTBEGUN", "EALREADYBEGUN", "EREQINPROG"]);

const failures = new WeakMap<object, Failure>();

/** What a typed error says about trying again; undefined for what would fail again in the same way, or isn't of this database. */
export function failureOf(error: unknown): Failure | undefined {
  return typeof error === "object" && error !== null ? failures.get(error) : undefined;
}

/** The port's error for what the driver threw. What the pool throws is no `MSSQLError`: a connection wasn't free in time. */
export function typedError(error: unknown): unknown {
  if (!(error instanceof sql.MSSQLError)) return unavailable("The database", error);
  const numbers = errorNumbers(error);
  if (numbers.some((number) => number === 2627 || number === 2601)) {
    return new UniqueViolation("A row with this value exists", { cause: error });
  }
  if (numbers.includes(547))
    return new ForeignKeyViolation("A reference is broken", { cause: error });
  const failure = classify(error, numbers);
  return failure ? unavailableAs(failure, error) : error;
}

/** The error of a COMMIT that was sent and not confirmed: it may have happened, so that nobody may repeat the work blindly. */
export function commitError(error: unknown): unknown {
  const rolledBack = error instanceof sql.TransactionError && (error.code as string) === "EABORT";
  if (rolledBack) return typedError(error);
  return unavailable(
    "The database",
    new OutcomeUnknown("The commit was not confirmed", { cause: error }),
  );
}

function unavailableAs(failure: Failure, cause: unknown): Error {
  const error = unavailable("The database", cause);
  failures.set(error, failure);
  return error;
}

function classify(error: sql.MSSQLError, numbers: number[]): Failure | undefined {
  const connecting = error instanceof sql.ConnectionError;
  if (numbers.some((number) => UNDONE.has(number))) return connecting ? "unconnected" : "undone";
  if (numbers.some((number) => LOST.has(number))) return connecting ? "unconnected" : "lost";
  if (connecting) return REFUSED_CODES.has(error.code) ? "refused" : "unconnected";
  return numbers.length > 0 || MISUSE_CODES.has(error.code) ? undefined : "lost";
}

/** The server may send several errors for one statement; the driver keeps the earlier ones, and the original of each. */
function errorNumbers(error: unknown): number[] {
  if (!(error instanceof Error)) return [];
  const { number, originalError, precedingErrors } = error as {
    number?: unknown;
    originalError?: unknown;
    precedingErrors?: unknown[];
  };
  const own = typeof number === "number" ? [number] : [];
  return [...own, ...errorNumbers(originalError), ...(precedingErrors ?? []).flatMap(errorNumbers)];
}
