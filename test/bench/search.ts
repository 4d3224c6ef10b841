import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import { EmbeddedContentStore } from "../../src/content/embedded.ts";
import { parseSearch } from "../../src/content/search-terms.ts";
import { openSqlite } from "../../src/data/sqlite.ts";

/**
 * Searches among 100,000 documents (or as many as the first argument says) of 2 to 6 KB, in Arabic and English words of
 * a Zipf distribution, of 50 owners of uneven size, in an embedded store. Prints
 * milliseconds of first pages; on a busy machine the mean of CPU time says more than the others.
 */
const DOCUMENTS = Number(process.argv[2] ?? 100_000);
const ROUNDS = Number(process.argv[3] ?? 40);
const OWNERS = 50;
const VOCABULARY = 60_000;
const BATCH = 1_000;

const LATIN = "ba re ti mo ka su li ne dor van est ing pro con der men tra all".split(" ");
const ARABIC = "ال سل ام كت اب مد رس قر عل وم حس بر نا هد ست".split(" ");

/** Mulberry32: the same documents each time. */
let state = 1;
function random(): number {
  state = (state + 0x6d2b79f5) | 0;
  let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
}
const below = (limit: number) => Math.floor(random() * limit);

const words = new Set<string>();
while (words.size < VOCABULARY) {
  const syllables = random() < 0.5 ? LATIN : ARABIC;
  const length = 1 + below(4) + below(2);
  words.add(Array.from({ length }, () => syllables[below(syllables.length)]).join(""));
}
const vocabulary = [...words];
const weights = vocabulary.map((_, rank) => 1 / (rank + 2.7));
let sum = 0;
const cumulated = Float64Array.from(weights, (weight) => (sum += weight));

function word(): string {
  const sought = random() * sum;
  let low = 0;
  for (let high = cumulated.length - 1; low < high; ) {
    const middle = (low + high) >> 1;
    if ((cumulated[middle] ?? 0) < sought) low = middle + 1;
    else high = middle;
  }
  return vocabulary[low] ?? "";
}

function text(): string {
  let written = "";
  const bytes = 2_000 + below(4_000);
  for (let size = 0; size < bytes; ) {
    const next = word() + (random() < 0.1 ? ".\n" : " ");
    written += next;
    size += Buffer.byteLength(next);
  }
  return written;
}

const folder = await mkdtemp(join(tmpdir(), "nassaq-search-"));
process.on("exit", () =>
  process.stdout.write(`peak memory ${process.resourceUsage().maxRSS >> 10} MB\n`),
);
const file = join(folder, "bench.db");
const database = openSqlite({ file });
const store = new EmbeddedContentStore(database);
await store.connect();

/** A thousand documents a transaction: the store's own ones take their turn inside it. */
async function fill(): Promise<number> {
  let bytes = 0;
  for (let docId = 1; docId <= DOCUMENTS; ) {
    await database.transaction(async (tx) => {
      const bulk = new EmbeddedContentStore({ ...database, transaction: (work) => work(tx) });
      for (const last = Math.min(docId + BATCH, DOCUMENTS + 1); docId < last; docId++) {
        const written = text();
        bytes += Buffer.byteLength(written);
        const owner = 1 + Math.floor(OWNERS * random() ** 2);
        await bulk.put(
          { ...PLAIN, doc_id: docId, filename: `${word()} ${docId}.pdf`, extracted_text: written },
          owner,
        );
      }
    });
  }
  return bytes;
}
const PLAIN = {
  file_type: "pdf",
  blob_path: "documents/scan.pdf",
  ocr: {
    page_count: 3,
    word_count: 600,
    avg_confidence: 0.9,
    primary_language: "ar",
    elapsed_seconds: 6,
  },
  classification: null,
  processed_at: new Date(0),
};
const started = performance.now();
const bytes = await fill();
const seconds = (performance.now() - started) / 1000;
await database.first("PRAGMA wal_checkpoint(TRUNCATE)");
const size = (await stat(file)).size;
const megabytes = (count: number) => `${(count / 1e6).toFixed(0)} MB`;
process.stdout.write(
  `${DOCUMENTS} documents in ${seconds.toFixed(0)} s; text ${megabytes(bytes)}, store ${megabytes(size)}\n`,
);

const at = (rank: number) => vocabulary[rank] ?? "";
const longWord = vocabulary.find((candidate, rank) => rank > 50 && candidate.length >= 8) ?? "";
/** Each with a word that differs from round to round, so that no page is warm for its sake. */
const QUERIES: Record<string, (round: number) => string> = {
  "rare word": (round) => at(VOCABULARY - 1 - round),
  "middling word": (round) => at(1_000 + round),
  "common word": (round) => at(round),
  "two common words": (round) => `${at(round)} ${at(round + 1)}`,
  "common and rare": (round) => `${at(round)} ${at(VOCABULARY - 1 - round)}`,
  "five words": (round) => [0, 1, 2, 3, 4].map((more) => at(round + more)).join(" "),
  "common phrase": (round) => `"${at(round % 5)} ${at(1 + (round % 7))}"`,
  "absent phrase": (round) => `"${[60, 61, 62, 63].map((rank) => at(rank + round)).join(" ")}"`,
  "prefix of 2": (round) => `${at(round).slice(0, 2)}*`,
  "prefix of 3": (round) =>
    `${at(50 + round)
      .padEnd(3, "a")
      .slice(0, 3)}*`,
  "prefix of 4": (round) =>
    `${at(50 + round)
      .padEnd(4, "a")
      .slice(0, 4)}*`,
  "prefix of 6": () => `${longWord.slice(0, 6)}*`,
  "file name": (round) => `${1 + round * 97} pdf`,
  "no such word": (round) => `absent${round}`,
};
const CALLERS = { "smallest owner": OWNERS, "largest owner": 1, administrator: undefined };

process.stdout.write("ms                                    cpu     p50     p99     max    hits\n");
let longestHold = 0;
for (const [caller, owner] of Object.entries(CALLERS)) {
  for (const [name, query] of Object.entries(QUERIES)) {
    const times: number[] = [];
    const before = process.cpuUsage();
    const holds = monitorEventLoopDelay({ resolution: 1 });
    holds.enable();
    let hits = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const begun = performance.now();
      const found = await store.search(parseSearch(query(round)), owner, { skip: 0, limit: 20 });
      times.push(performance.now() - begun);
      hits = Math.max(hits, found.total);
      await new Promise((resolve) => setImmediate(resolve));
    }
    holds.disable();
    const { user, system } = process.cpuUsage(before);
    const cpu = (user + system) / 1000 / ROUNDS;
    longestHold = Math.max(longestHold, holds.max / 1e6);
    times.sort((a, b) => a - b);
    const quantile = (part: number) => times[Math.ceil(part * times.length) - 1] ?? 0;
    const figures = [cpu, quantile(0.5), quantile(0.99), quantile(1)].map((ms) =>
      ms.toFixed(1).padStart(8),
    );
    process.stdout.write(
      `${caller.padEnd(16)}${name.padEnd(18)}${figures.join("")}${String(hits).padStart(8)}\n`,
    );
  }
}
process.stdout.write(`longest hold of the event loop ${longestHold.toFixed(0)} ms\n`);
await database.close();
await rm(folder, { recursive: true });
