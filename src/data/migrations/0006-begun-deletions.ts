import { addColumn, type Migration } from "./migration.ts";

/** A deletion that was begun is no longer taken back, by any process. */
export const begunDeletions: Migration = {
  name: "0006-begun-deletions",
  steps: [addColumn("Deletions", "begun_at", "DATETIME2(3) NULL")],
};
