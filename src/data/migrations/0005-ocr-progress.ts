import { addColumn, type Migration } from "./migration.ts";

/** How far the worker is. Other workers leave both columns NULL. */
export const ocrProgress: Migration = {
  name: "0005-ocr-progress",
  steps: [
    addColumn("Processing_Status", "pages_done", "INT NULL"),
    addColumn("Processing_Status", "pages_total", "INT NULL"),
  ],
};
