import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Broker } from "../broker/broker.ts";
import type { Database } from "../data/database.ts";
import { findBacklog } from "../data/outbox.ts";
import { within } from "../errors.ts";
import { createHistogram, expose, type Family } from "./exposition.ts";

/** Milliseconds that a scrape waits for the database. */
const DATABASE_TIMEOUT = 2_000;
/** Milliseconds between two looks at the event loop. */
const RESOLUTION = 10;

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

interface Sources {
  database: Database;
  broker: Broker;
  /** Files that are being received, and the bytes received since the start. */
  uploads: { traffic(): { running: number; bytes: number } };
  /** How many jobs wait for a thread. */
  passwords: { waiting(): number };
  now: () => Date;
}

const metric = (
  type: Family["type"],
  name: string,
  help: string,
  samples: Family["samples"],
): Family => ({ type, name, help, samples });

/** Left out where there is no value. */
const gauge = (name: string, help: string, value: number | undefined) =>
  metric("gauge", name, help, value === undefined ? [] : [{ value }]);

/** What an operator wants to know of this process, in Prometheus's text format. */
export function createMetrics(sources: Sources) {
  const durations = createHistogram();
  const eventLoop = createEventLoopFamily();
  let look: Promise<Family[]> | undefined;

  return {
    /** Counts a request; `route` is a pattern, or undefined where no route matched. */
    onAnswered(method: string, route: string | undefined, status: number, seconds: number): void {
      // A client chooses neither: there would be no end of them.
      const labels = {
        method: METHODS.includes(method) ? method : "other",
        route: route ?? "none",
      };
      durations.observe({ ...labels, status }, seconds);
    },

    /** Says `nassaq_database_up 0` and less when the database does not answer in time. */
    async scrape(): Promise<string> {
      // A look that hangs is not asked for again.
      look ??= askDatabase(sources).finally(() => {
        look = undefined;
      });
      const asked = await within(look, DATABASE_TIMEOUT, "No answer").catch(() => []);
      return expose([
        metric(
          "histogram",
          "nassaq_http_request_duration_seconds",
          "Requests answered, by route pattern, and how long they took with their bodies.",
          durations.samples(),
        ),
        ...processFamilies(sources),
        eventLoop.family(),
        gauge("nassaq_database_up", "Whether the database answered.", asked.length > 0 ? 1 : 0),
        ...asked,
      ]);
    },

    close: () => eventLoop.close(),
  };
}

function processFamilies({ database, uploads, passwords }: Sources): Family[] {
  const { running, bytes } = uploads.traffic();
  const { waiting, ...states } = database.pool?.() ?? {};
  const connections = Object.entries(states).map(([state, value]) => ({
    labels: { state },
    value,
  }));
  const received = "Bytes of files received, whatever became of them.";
  return [
    gauge("nassaq_uploads_in_flight", "Files that are being received.", running),
    metric("counter", "nassaq_upload_received_bytes_total", received, [{ value: bytes }]),
    gauge("nassaq_password_queue_length", "Password jobs that wait.", passwords.waiting()),
    metric("gauge", "nassaq_database_connections", "Those of the pool, by state.", connections),
    gauge("nassaq_database_waiting", "Statements that wait for a connection.", waiting),
    gauge("process_resident_memory_bytes", "Memory of the process.", process.memoryUsage.rss()),
  ];
}

async function askDatabase({ database, broker, now }: Sources): Promise<Family[]> {
  const [backlog, queues = []] = await Promise.all([findBacklog(database), broker.depths?.()]);
  const age = backlog ? Math.max(0, now().getTime() - backlog.oldest.getTime()) / 1000 : 0;
  const depths = queues.map(({ queue, messages }) => ({ labels: { queue }, value: messages }));
  return [
    gauge("nassaq_outbox_messages", "Messages not yet sent.", backlog?.total ?? 0),
    gauge("nassaq_outbox_oldest_age_seconds", "Age of the oldest one.", age),
    metric("gauge", "nassaq_queue_messages", "Messages of the embedded broker.", depths),
  ];
}

/** Its quantiles are of the time since the last scrape. */
function createEventLoopFamily() {
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION });
  delays.enable();
  let [sum, count] = [0, 0];
  /** Nanoseconds from one look to the next, to the seconds that the second one was late. */
  const lateness = (nanoseconds: number) => Math.max(0, nanoseconds / 1e9 - RESOLUTION / 1000);
  return {
    family(): Family {
      const quantiles = [0.5, 0.9, 0.99, 1].map((quantile) => ({
        labels: { quantile },
        value: delays.count > 0 ? lateness(delays.percentile(quantile * 100)) : Number.NaN,
      }));
      if (delays.count > 0) sum += lateness(delays.mean) * delays.count;
      count += delays.count;
      delays.reset();
      const help = "How late timers were; quantiles since the last scrape.";
      const totals = [
        { suffix: "_sum", value: sum },
        { suffix: "_count", value: count },
      ];
      return metric("summary", "nassaq_event_loop_delay_seconds", help, [...quantiles, ...totals]);
    },
    close: () => delays.disable(),
  };
}
