import { statSync } from "node:fs";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { EmbeddedContentStore } from "../../../src/content/embedded.ts";
import { parseSearch } from "../../../src/content/search-terms.ts";
import type { Database } from "../../../src/data/database.ts";
import { openSqlite } from "../../../src/data/sqlite.ts";
import { seeded } from "../../faults/random.ts";
import type { Bench } from "../contest.ts";
import { quantile } from "../report.ts";

const OWNERS = 50;
const VOCABULARY = 60_000;
const BATCH = 1_000;

const LATIN = "ba re ti mo ka su li ne dor van est ing pro con der men tra all".split(" ");
const ARABIC = "ال سل ام كت اب مد رس قر عل وم حس بر نا هد ست".split(" ");

/** Words in two scripts, the most common first, and texts of them: the same ones each time. */
function makeWords() {
  const { next, between, pick } = seeded(1);
  const words = new Set<string>();
  while (words.size < VOCABULARY) {
    const syllables = next() < 0.5 ? LATIN : ARABIC;
    const length = between(1, 4) + between(0, 1);
    words.add(Array.from({ length }, () => pick(syllables)).join(""));
  }
  const vocabulary = [...words];
  // A word of rank r comes about once in (r + 1) ln n words: Zipf's law.
  const word = () => vocabulary[Math.floor(VOCABULARY ** next()) - 1] ?? "";
  const text = () => {
    const length = between(220, 660);
    return Array.from({ length }, () => word() + (next() < 0.1 ? ".\n" : "")).join(" ");
  };
  return { vocabulary, word, text, owner: () => 1 + Math.floor(OWNERS * next() ** 2) };
}

const PLAIN = { file_type: "pdf", blob_path: "scan.pdf", classification: null };
const READ = { page_count: 3, word_count: 600, avg_confidence: 0.9, primary_language: "ar" };

/** A thousand documents a transaction: the store's own ones take their turn inside it. */
async function fill(database: Database, count: number, words: ReturnType<typeof makeWords>) {
  const fixed = { ...PLAIN, ocr: { ...READ, elapsed_seconds: 6 }, processed_at: new Date(0) };
  for (let doc_id = 1; doc_id <= count; ) {
    await database.transaction(async (tx) => {
      const bulk = new EmbeddedContentStore({ ...database, transaction: (work) => work(tx) });
      for (const last = Math.min(doc_id + BATCH, count + 1); doc_id < last; doc_id++) {
        const filename = `${words.word()} ${doc_id}.pdf`;
        await bulk.put({ ...fixed, doc_id, filename, extracted_text: words.text() }, words.owner());
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
  const words = makeWords();
  const began = performance.now();
  await fill(database, documents, words);
  const ours = documents / ((performance.now() - began) / 1_000);
  await database.first("PRAGMA wal_checkpoint(TRUNCATE)");
  const note = `${documents} of them in ${(statSync(file).size / 1e6).toFixed(0)} MB`;
  report({ name: "search: texts stored", unit: "texts/s", ours, note });
  for (const [caller, owner] of Object.entries(CALLERS)) {
    for (const [name, query] of Object.entries(queries(words.vocabulary))) {
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
