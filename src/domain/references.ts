import { ForeignKeyViolation } from "../data/database.ts";
import { AppError } from "../errors.ts";

/** A row that slips in between two statements of a deletion is met by doing the deletion again. */
const MAX_ATTEMPTS = 5;

/**
 * Runs the deletion of `what` ("user"), a transaction that looks for what may keep it and removes
 * what goes with it, again while rows reference it still. Then `conflict`: they are in a table of
 * the platform that this server does not know.
 */
export async function removing<Result>(
  what: string,
  transaction: () => Promise<Result>,
): Promise<Result> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await transaction();
    } catch (error) {
      if (!(error instanceof ForeignKeyViolation)) throw error;
      if (attempt < MAX_ATTEMPTS) continue;
      const detail = `Cannot delete this ${what}: rows of another table still reference it.`;
      throw new AppError("conflict", detail, { cause: error });
    }
  }
}
