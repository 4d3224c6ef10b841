import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Broker } from "../broker/broker.ts";
import type { Database } from "../data/database.ts";
import { findBacklog } from "../data/outbox.ts";
import { within } from "../errors.ts";
import { createHistogram, expose } from "./exposition.ts";

const DATABASE_TIMEOUT_MS = 2_000;
const RESOLUTION_MS = 10;

export interface Sources {
  database: Database;
  broker: Broker;
  uploads: { traffic(): { running: number; bytes: number } };
  passwords: { waiting(): number };
  now: () => Date;
}

const gauge = (name: string, help: string, value: number) => expose("gauge", name, help, [[value]]);

/** What an operator wants to know of this process, in Prometheus's text format. */
export function createMetrics(sources: Sources) {
  const durations = createHistogram();
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delays.enable();
  let look: Promise<string> | undefined;

  return {
    /** Counts a request; `route` is a pattern, or undefined where no route matched. */
    onAnswered(method: string, route = "none", status: number, seconds: number): void {
      durations.observe({ method, route, status }, seconds);
    },

    /** Says `nassaq_database_up 0` and less when the database does not answer in time. */
    async scrape(): Promise<string> {
      // A look that hangs is not asked for again.
      look ??= askDatabase(sources).finally(() => {
        look = undefined;
      });
      const asked = await within(look, DATABASE_TIMEOUT_MS, "No answer").catch(() => "");
      const requests = "Requests by route pattern, and how long they took with their bodies.";
      const texts = [
        expose("histogram", "nassaq_http_request_duration_seconds", requests, durations.samples()),
        ofProcess(sources),
        ofEventLoop(delays),
        gauge("nassaq_database_up", "Whether the database answered.", asked ? 1 : 0),
        asked,
      ];
      return texts.join("");
    },

    close: () => delays.disable(),
  };
}

function ofProcess({ database, uploads, passwords }: Sources): string {
  const { running, bytes } = uploads.traffic();
  const states = Object.entries(database.pool?.() ?? {});
  const pool = states.map(([state, count]) => [count, { state }] as const);
  const received = "Bytes of files received, whatever became of them.";
  const texts = [
    gauge("nassaq_uploads_in_flight", "Files that are being received.", running),
    expose("counter", "nassaq_upload_received_bytes_total", received, [[bytes]]),
    gauge("nassaq_password_queue_length", "Password jobs that wait.", passwords.waiting()),
    expose("gauge", "nassaq_database_pool", "Connections, and who waits for one.", pool),
    gauge("process_resident_memory_bytes", "Memory of the process.", process.memoryUsage.rss()),
  ];
  return texts.join("");
}

async function askDatabase({ database, broker, now }: Sources): Promise<string> {
  const [backlog, queues = []] = await Promise.all([findBacklog(database), broker.depths?.()]);
  const age = backlog ? Math.max(0, now().getTime() - backlog.oldest.getTime()) / 1000 : 0;
  const depths = queues.map(({ queue, messages }) => [messages, { queue }] as const);
  const texts = [
    gauge("nassaq_outbox_messages", "Messages not yet sent.", backlog?.total ?? 0),
    gauge("nassaq_outbox_oldest_age_seconds", "Age of the oldest one.", age),
    expose("gauge", "nassaq_queue_messages", "Messages of the embedded broker.", depths),
  ];
  return texts.join("");
}

/** The monitor counts nanoseconds from one look to the next, which include its resolution. */
function ofEventLoop(delays: ReturnType<typeof monitorEventLoopDelay>): string {
  const quantiles = [0.5, 0.9, 0.99, 1].map((quantile) => {
    const seconds = Math.max(0, delays.percentile(quantile * 100) / 1e9 - RESOLUTION_MS / 1000);
    return [delays.count > 0 ? seconds : Number.NaN, { quantile }] as const;
  });
  delays.reset();
  const help = "How late timers were since the last scrape.";
  return expose("gauge", "nassaq_event_loop_delay_seconds", help, quantiles);
}
