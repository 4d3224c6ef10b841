import { addColumn, createTable, type Migration } from "./migration.ts";

const unless = "SELECT 1 AS found FROM Virtual_Paths WHERE depth > 0";

/**
 * The oldest databases of the reference system keep no depth of a path, which 0001 needs. Released
 * after 0002, where it finds the column and changes nothing.
 */
export const pathDepth: Migration = {
  name: "0000-path-depth",
  steps: [
    createTable("Virtual_Paths", [
      "path_id INT IDENTITY(1,1) PRIMARY KEY",
      "full_path NVARCHAR(500) NOT NULL UNIQUE",
      "created_at DATETIME NULL",
      "description NVARCHAR(MAX) NULL",
    ]),
    addColumn("Virtual_Paths", "depth", "INT NOT NULL DEFAULT 0"),
    {
      sqlite: {
        sql: `UPDATE Virtual_Paths SET depth =
  LENGTH(full_path) - LENGTH(REPLACE(full_path, '/', '')) + 1
WHERE full_path <> '/'`,
        unless,
      },
      // DATALENGTH is in bytes, two a code unit; LEN would not count spaces at the end.
      sqlserver: {
        sql: `UPDATE Virtual_Paths SET depth =
  (DATALENGTH(full_path) - DATALENGTH(REPLACE(full_path, N'/', N''))) / 2 + 1
WHERE full_path <> N'/'`,
        unless,
      },
    },
  ],
};
