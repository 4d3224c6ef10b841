import { setImmediate as nextTurn } from "node:timers/promises";
import type { Database, List, Params, Queryable, Window } from "./database.ts";
import { count } from "./filters.ts";

/** Totals are exact up to here. */
const COUNTED = 10_000;
const MOST = COUNTED + 1;
/** Keys in a range of a walk. */
const SHORTEST_SPAN = 2_500;
const FIRST_SPAN = 5_000;
const WIDEST_SPAN = 40_000;
/** After a faster range the next is wider, after a slower one narrower. */
const FAST_MS = 2;
const SLOW_MS = 6;
/** Terms of a name that are looked up in its index. */
const TERMS = 4;
/** Documents that the index gives at a time. */
const NAMES = 5_000;

/** Lists on SQL Server, whose statements hold nobody else. */
export const listOnServer = (q: Queryable): Database["list"] =>
  listAtOnce(q, (found) => `SELECT TOP (${MOST}) 1 AS one ${found}`);

/** Lists on SQLite, whose statements hold the whole process. */
export function listEmbedded(q: Queryable): Database["list"] {
  const atOnce = listAtOnce(q, (found) => `SELECT 1 AS one ${found} LIMIT ${MOST}`);
  return (list, params, window) =>
    list.isIndexed && window.skip < COUNTED
      ? atOnce(list, params, window)
      : walk(q, list, params, window);
}

/** One page and one bounded count. */
function listAtOnce(q: Queryable, bounded: (found: string) => string): Database["list"] {
  return async <Row>(list: List, params: Params, window: Window) => {
    const { columns, from, joins, where, key } = list;
    const page = `SELECT ${columns} FROM ${from} ${joins} ${where} ORDER BY ${key} DESC`;
    const rows = await q.page<Row>(page, params, window);
    const counted = await count(q, `FROM (${bounded(`FROM ${from} ${where}`)}) x`, params);
    return listed(rows, window, counted, counted < MOST);
  };
}

/** Goes down the keys: a range of them is a short statement, and others get a turn in between. */
async function walk<Row>(q: Queryable, list: List, params: Params, window: Window) {
  const { key, from, part } = list;
  const terms = termsOf(part?.text ?? "");
  const ends = `SELECT (SELECT MIN(${key}) FROM ${from}) AS bottom,
    (SELECT MAX(${key}) FROM ${from}) AS high`;
  const row = await q.first<{ bottom: number; high: number }>(ends);
  let { bottom, high } = row ?? { bottom: 0, high: -1 };
  const rows: Row[] = [];
  let counted = 0;
  let span = FIRST_SPAN;
  /** Whether names are looked up. The first range tells. */
  let isNamed: boolean | undefined;
  while (high >= bottom && (counted < MOST || rows.length < window.limit)) {
    const started = performance.now();
    const named = part && isNamed ? await findByName(q, part.index, terms, high) : undefined;
    const low = named ? named.low : high - span;
    const range = { ...params, high, low, ids: named?.ids ?? "" };
    const where = inRange(list, isNamed);
    const counting = `FROM (SELECT 1 AS one FROM ${from} ${where} LIMIT ${MOST})`;
    const matches = await count(q, counting, range);
    const took = performance.now() - started;
    const isOver = matches === MOST && rows.length < window.limit;
    if (!isOver) {
      const rest = { skip: Math.max(0, window.skip - counted), limit: window.limit - rows.length };
      if (rest.limit > 0 && matches > rest.skip)
        rows.push(...(await readPage<Row>(q, list, where, range, rest)));
      counted += matches;
      high = low;
    }
    if (isOver || took > SLOW_MS) span = Math.max(SHORTEST_SPAN, Math.ceil(span / 4));
    else if (took < FAST_MS && matches < COUNTED / 4) span = Math.min(span * 2, WIDEST_SPAN);
    // Names that have the terms are many, but few that another filter leaves.
    if (named && named.low >= bottom && matches < NAMES / 10) isNamed = false;
    isNamed ??= terms !== "" && matches < FIRST_SPAN / 20;
    await nextTurn();
  }
  return listed(rows, window, counted, high < bottom);
}

/** The next documents whose names have the terms, as JSON. Below `low` there are the others. */
async function findByName(q: Queryable, index: string, terms: string, high: number) {
  const sql = `SELECT json_group_array(n.id) AS ids, COUNT(*) AS found, MIN(n.id) AS lowest FROM
    (SELECT rowid AS id FROM ${index} WHERE ${index} MATCH @terms AND rowid <= @high
      ORDER BY rowid DESC LIMIT ${NAMES}) n`;
  const found = await q.first<{ ids: string; found: number; lowest: number }>(sql, { terms, high });
  return { ids: found?.ids ?? "[]", low: found?.found === NAMES ? found.lowest - 1 : -1 };
}

function listed<Row>(rows: Row[], { skip, limit }: Window, counted: number, isAll: boolean) {
  const isEnd = rows.length > 0 && rows.length < limit;
  if (isAll) return { rows, total: counted, isExact: true };
  return {
    rows,
    total: isEnd ? skip + rows.length : Math.max(COUNTED, skip + rows.length),
    isExact: isEnd,
  };
}

/** Skips by keys alone, then joins what the rows show. */
async function readPage<Row>(
  q: Queryable,
  { columns, from, joins, key }: List,
  where: string,
  range: Params,
  { skip, limit }: Window,
): Promise<Row[]> {
  const rest = `${where} ORDER BY ${key} DESC`;
  const first = `SELECT ${key} AS high FROM ${from} ${rest}`;
  const start = skip > 0 ? await q.page<Params>(first, range, { skip, limit: 1 }) : [range];
  const text = `SELECT ${columns} FROM ${from} ${joins} ${rest}`;
  return q.page<Row>(text, { ...range, ...start[0] }, { skip: 0, limit });
}

/** The keys above `@low`, up to `@high`; of them those in `@ids` when they are found by name. */
function inRange({ where, key }: List, isNamed = false): string {
  const range = `${where ? `${where} AND` : "WHERE"} ${key} > @low AND ${key} <= @high`;
  return isNamed ? `${range} AND ${key} IN (SELECT value FROM json_each(@ids))` : range;
}

/**
 * A query of FTS5 for some of the trigrams of a text (sqlite.org/fts5.html, section 4.3.5), spread
 * over it, without its extension, which most names share. Empty for a text of fewer than three.
 */
function termsOf(text: string): string {
  const characters = [...text.replace(/(?<=...)\.\w*$/u, "")];
  const last = characters.length - 3;
  if (last < 0) return "";
  const starts = Array.from({ length: TERMS }, (_, at) => Math.round((at * last) / (TERMS - 1)));
  const terms = [...new Set(starts)].map((at) => characters.slice(at, at + 3).join(""));
  return terms.map((term) => `"${term.replaceAll('"', '""')}"`).join(" AND ");
}
