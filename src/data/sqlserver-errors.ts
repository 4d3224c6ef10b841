import sql from "mssql";
import { AppError, unavailable } from "../errors.ts";
import { ForeignKeyViolation, UniqueViolation } from "./database.ts";

/**
 * `undone`: the server says that the statement did nothing; `lost`: nobody knows whether it did;
 * `unconnected`: it was not sent, and may be later; `refused`: it was not sent, and won't be.
 */
type Failure = "undone" | "lost" | "unconnected" | "refused";

/**
 * Transient numbers, and those of locks (1204, 1205, 1222). `LOST` ones break the connection.
 * https://learn.microsoft.com/en-us/azure/azure-sql/database/troubleshoot-common-errors-issues
 */
const UNDONE = [
  1204, 1205, 1222, 4060, 10928, 10929, 40501, 40613, 42108, 42109, 49918, 49919, 49920,
];
const LOST = [233, 997, 4221, 10060, 40143, 40197, 40540];
/** Failures to connect that last, unless the server gave a transient number. */
const REFUSED_CODES = ["ELOGIN", "EENCRYPT", "ETDS", "EINTERFACENOTSUPP"];
/** Mistakes in the use of the driver: nothing was sent. */
const MISUSE_CODES = ["EPARAM", "EARGS", "EINJECT", "ENOTBEGUN", "EALREADYBEGUN", "EREQINPROG"];

export function typedError(error: unknown): unknown {
  const numbers = errorNumbers(error);
  if (numbers.includes(2627) || numbers.includes(2601))
    return new UniqueViolation("A row with this value exists", { cause: error });
  if (numbers.includes(547))
    return new ForeignKeyViolation("A reference is broken", { cause: error });
  // The pool throws what is no MSSQLError: no connection was free in time.
  const isUnavailable = !(error instanceof sql.MSSQLError) || classify(error) !== undefined;
  return isUnavailable ? unavailable("The database", error) : error;
}

/** Of a typed error; undefined when another attempt would fail again. */
export function failureOf(error: unknown): Failure | undefined {
  return error instanceof AppError ? classify(error.cause) : undefined;
}

function classify(error: unknown): Failure | undefined {
  if (!(error instanceof sql.MSSQLError)) return undefined;
  const numbers = errorNumbers(error);
  const isUndone = UNDONE.some((number) => numbers.includes(number));
  const isLost = LOST.some((number) => numbers.includes(number));
  if (error instanceof sql.ConnectionError)
    return isUndone || isLost || !REFUSED_CODES.includes(error.code) ? "unconnected" : "refused";
  if (isUndone) return "undone";
  // The server's answer has a number. What has none, with whatever code, broke the connection.
  const isAnswer = numbers.length > 0 || MISUSE_CODES.includes(error.code);
  return isLost || !isAnswer ? "lost" : undefined;
}

/** Of a statement's errors: the driver keeps the earlier ones, and the original of each. */
export function errorNumbers(error: unknown): number[] {
  if (!(error instanceof Error)) return [];
  type Driver = sql.RequestError & { precedingErrors?: Error[] };
  const { number, originalError, precedingErrors = [] } = error as Driver;
  const others = [originalError, ...precedingErrors].flatMap((other) => errorNumbers(other));
  return typeof number === "number" ? [number, ...others] : others;
}
