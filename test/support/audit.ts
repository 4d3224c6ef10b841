import { createAudit } from "../../src/domain/audit.ts";

/** An audit trail for tests of what is recorded: a fixed key, and nobody seals. */
export const testAudit = (now: () => Date = () => new Date()) =>
  createAudit({ now, epoch: { number: 1, key: Buffer.alloc(32, "test") } });
