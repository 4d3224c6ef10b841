import { addColumn, createIndex, createTable, type Migration } from "./migration.ts";

/** What makes the audit trail tamper-evident. Rows without `row_mac` are outside of its chain. */
export const auditChain: Migration = {
  name: "0004-audit-chain",
  steps: [
    addColumn("Logs", "row_mac", "CHAR(64) NULL"),
    addColumn("Logs", "chain_epoch", "INT NULL"),
    addColumn("Logs", "chain_sequence", "BIGINT NULL"),
    addColumn("Logs", "chain_mac", "CHAR(64) NULL"),
    createIndex("Logs_by_chain", "Logs (chain_epoch, chain_sequence)"),
    createTable("Audit_Heads", [
      "epoch INT NOT NULL PRIMARY KEY",
      "wrapped_key VARCHAR(200) NOT NULL",
      "length BIGINT NOT NULL",
      "last_mac CHAR(64) NOT NULL",
      "head_mac CHAR(64) NOT NULL",
    ]),
  ],
};
