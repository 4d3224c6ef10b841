import { ForeignKeyViolation } from "../data/database.ts";
import { AppError } from "../errors.ts";

/** The deletion of `what` ("user"). Throws `conflict` while rows of another table reference it. */
export async function removing<Result>(what: string, deletion: Promise<Result>): Promise<Result> {
  try {
    return await deletion;
  } catch (error) {
    if (!(error instanceof ForeignKeyViolation)) throw error;
    const detail = `Cannot delete this ${what}: rows of another table still reference it.`;
    throw new AppError("conflict", detail, { cause: error });
  }
}
