import type { Broker } from "./broker/broker.ts";
import { createDispatcher } from "./broker/dispatcher.ts";
import type { Config } from "./config.ts";
import type { Core } from "./domain/authority.ts";
import { startChores } from "./domain/chores.ts";
import type { Deletions, Stores } from "./domain/deletions.ts";
import { indexTexts } from "./domain/indexing.ts";
import type { Registration } from "./domain/registration.ts";
import { sweepAccounts, sweepBlobs } from "./domain/sweep.ts";
import type { Uploads } from "./domain/uploads.ts";
import type { OnStop } from "./stopping.ts";

/** Milliseconds. */
const DAY = 24 * 60 * 60 * 1000;
const MINUTE = 60 * 1000;
/** Four times in a lease. */
const OFTEN = 5 * 1000;

type Chore = Parameters<typeof startChores>[0];

interface Parts extends Core, Stores {
  broker: Broker;
  deletions: Deletions;
  uploads: Uploads;
  registration: Registration;
}

export type Background = ReturnType<typeof createBackground>;

/** What is done beside the requests. Each process keeps what it holds; one of them leads. */
export function createBackground(config: Config, parts: Parts, onStop: OnStop) {
  const { log, deletions, uploads } = parts;
  const dispatcher = createDispatcher(parts);
  let firstAdmin: Promise<void> | undefined;

  const start = (name: string, interval: number, chore: Chore) =>
    onStop(name, startChores(chore, log, interval).stop);
  start("leases of uploads", OFTEN, uploads.renew);

  return {
    /** A message was committed. */
    notify: dispatcher.notify,

    /** `work`, but not before the first admin was made, where this process makes it. */
    settledBefore:
      <Args extends unknown[], Result>(work: (...args: Args) => Promise<Result>) =>
      async (...args: Args) => {
        await firstAdmin;
        return work(...args);
      },

    /** Takes what one process does for all. */
    async lead(): Promise<void> {
      dispatcher.start();
      onStop("dispatcher", dispatcher.stop);
      start("deletions", OFTEN, async (stopping) => {
        // Where the database was away for longer than a lease, the uploads that run here go on.
        await uploads.renew();
        await deletions.carryOutDue(stopping);
      });
      start("accounts", MINUTE, () => sweepAccounts(parts));
      start("texts", MINUTE, (stopping) => indexTexts(parts, stopping));
      start("strays", DAY, (stopping) => sweepBlobs(parts, stopping));
      let isStopping = false;
      const making = makeFirstAdmin(config, parts.registration).catch((error: unknown) => {
        // Another user has the address, say, or another server made the same admin meanwhile.
        if (!isStopping) log.warn("the first admin was not made", { error });
      });
      firstAdmin = making;
      onStop("first admin", () => {
        isStopping = true;
        return making;
      });
      if (config.EMBEDDED_WORKER) {
        const { startWorkerBeside } = await import("./worker/beside.ts");
        onStop("worker", startWorkerBeside(log));
      }
      await making;
    },
  };
}

/** A generated password is told here, once, and never in the log. */
async function makeFirstAdmin(config: Config, registration: Registration) {
  const { BOOTSTRAP_ADMIN_EMAIL: email, BOOTSTRAP_ADMIN_PASSWORD: password } = config;
  const credentials = email && password ? { email, password } : undefined;
  const generate = config.ENVIRONMENT === "dev" && credentials === undefined;
  const made = await registration.ensureFirstAdmin({ credentials, generate });
  if (generate && made)
    process.stderr.write(`First administrator: ${made.email}\nPassword: ${made.password}\n`);
}
