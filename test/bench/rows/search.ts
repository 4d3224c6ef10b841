import { statSync } from "node:fs";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { EmbeddedContentStore } from "../../../src/content/embedded.ts";
import { parseSearch } from "../../../src/content/search-terms.ts";
import { openSqlite } from "../../../src/data/sqlite.ts";
import type { Bench } from "../contest.ts";
import { quantile } from "../report.ts";

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

/** Words in two scripts, the most common first. */
function makeVocabulary(): string[] {
  const words = new Set<string>();
  while (words.size < VOCABULARY) {
    const syllables = random() < 0.5 ? LATIN : ARABIC;
    const length = 1 + below(4) + below(2);
    words.add(Array.from({ length }, () => syllables[below(syllables.length)]).join(""));
  }
  return [...words];
}

/** Draws words by a Zipf distribution. */
function drawer(vocabulary: readonly string[]): () => string {
  let sum = 0;
  const cumulated = vocabulary.map((_, rank) => (sum += 1 / (rank + 2.7)));
  return () => {
    const sought = random() * sum;
    let low = 0;
    for (let high = cumulated.length - 1; low < high; ) {
      const middle = (low + high) >> 1;
      if ((cumulated[middle] ?? 0) < sought) low = middle + 1;
      else high = middle;
    }
    return vocabulary[low] ?? "";
  };
}

function text(word: () => string): string {
  let written = "";
  const bytes = 2_000 + below(4_000);
  for (let size = 0; size < bytes; ) {
    const next = word() + (random() < 0.1 ? ".\n" : " ");
    written += next;
    size += Buffer.byteLength(next);
  }
  return written;
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

/** A thousand documents a transaction: the store's own ones take their turn inside it. */
async function fill(database: ReturnType<typeof openSqlite>, count: number, word: () => string) {
  for (let docId = 1; docId <= count; ) {
    await database.transaction(async (tx) => {
      const bulk = new EmbeddedContentStore({ ...database, transaction: (work) => work(tx) });
      for (const last = Math.min(docId + BATCH, count + 1); docId < last; docId++) {
        const names = { doc_id: docId, filename: `${word()} ${docId}.pdf` };
        const owner = 1 + Math.floor(OWNERS * random() ** 2);
        await bulk.put({ ...PLAIN, ...names, extracted_text: text(word) }, owner);
      }
    });
  }
}

/** Each with words that differ from round to round, so that no page is warm for its sake. */
function queries(vocabulary: readonly string[]): Record<string, (round: number) => string> {
  const at = (rank: number) => vocabulary[rank] ?? "";
  const several = (ranks: number[], round: number) =>
    ranks.map((rank) => at(rank + round)).join(" ");
  const prefix = (length: number) => (round: number) =>
    `${at(50 + round)
      .padEnd(length, "a")
      .slice(0, length)}*`;
  const long = vocabulary.find((candidate, rank) => rank > 50 && candidate.length >= 8) ?? "";
  return {
    "rare word": (round) => at(VOCABULARY - 1 - round),
    "middling word": (round) => at(1_000 + round),
    "common word": at,
    "two common words": (round) => several([0, 1], round),
    "common and rare": (round) => `${at(round)} ${at(VOCABULARY - 1 - round)}`,
    "five words": (round) => several([0, 1, 2, 3, 4], round),
    "common phrase": (round) => `"${at(round % 5)} ${at(1 + (round % 7))}"`,
    "absent phrase": (round) => `"${several([60, 61, 62, 63], round)}"`,
    "prefix of 2": (round) => `${at(round).slice(0, 2)}*`,
    "prefix of 3": prefix(3),
    "prefix of 4": prefix(4),
    "prefix of 6": () => `${long.slice(0, 6)}*`,
    "file name": (round) => `${1 + round * 97} pdf`,
    "no such word": (round) => `absent${round}`,
  };
}

const CALLERS = { "smallest owner": OWNERS, "largest owner": 1, administrator: undefined };

/**
 * First pages of searches among documents of 2 to 6 KB, in Arabic and English words, of 50 owners
 * of uneven size, in an embedded store: 100,000 of them, or 10,000 when it has to be quick.
 */
export async function search({ folder, isQuick, report }: Bench): Promise<void> {
  const [documents, rounds] = isQuick ? [10_000, 10] : [100_000, 40];
  const file = join(folder, "search.db");
  const database = openSqlite({ file });
  const store = new EmbeddedContentStore(database);
  await store.connect();
  const vocabulary = makeVocabulary();
  const began = performance.now();
  await fill(database, documents, drawer(vocabulary));
  const ours = documents / ((performance.now() - began) / 1_000);
  await database.first("PRAGMA wal_checkpoint(TRUNCATE)");
  const note = `${documents} of them in ${(statSync(file).size / 1e6).toFixed(0)} MB`;
  report({ name: "search: texts stored", unit: "texts/s", ours, note });
  for (const [caller, owner] of Object.entries(CALLERS)) {
    for (const [name, query] of Object.entries(queries(vocabulary))) {
      const times: number[] = [];
      let hits = 0;
      const before = process.cpuUsage();
      const holds = monitorEventLoopDelay({ resolution: 1 });
      holds.enable();
      for (let round = 0; round < rounds; round++) {
        const begun = performance.now();
        const page = { skip: 0, limit: 20 };
        const { total } = await store.search(parseSearch(query(round)), owner, page);
        times.push(performance.now() - begun);
        hits = Math.max(hits, total);
        await new Promise((resolve) => setImmediate(resolve));
      }
      holds.disable();
      const { user, system } = process.cpuUsage(before);
      const p99 = quantile(times, 0.99).toFixed(1);
      report({
        name: `search: ${name}, ${caller}`,
        unit: "ms CPU",
        ours: (user + system) / 1_000 / rounds,
        note: `p99 ${p99}, loop held ${(holds.max / 1e6).toFixed(0)}, ${hits} hits`,
      });
    }
  }
  await database.close();
}
