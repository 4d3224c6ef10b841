import { ForeignKeyViolation } from "../data/database.ts";
import { AppError } from "../errors.ts";

const MAX_ATTEMPTS = 5;

/**
 * Runs the deletion of `what` ("user"), again when a row slipped in that references it. Throws
 * `conflict` while rows of a table that this server does not know do.
 */
export async function removing<Result>(
  what: string,
  deletion: () => Promise<Result>,
  attempts = MAX_ATTEMPTS,
): Promise<Result> {
  try {
    return await deletion();
  } catch (error) {
    if (!(error instanceof ForeignKeyViolation)) throw error;
    if (attempts > 1) return removing(what, deletion, attempts - 1);
    const detail = `Cannot delete this ${what}: rows of another table still reference it.`;
    throw new AppError("conflict", detail, { cause: error });
  }
}
