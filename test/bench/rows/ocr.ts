import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Browser, chromium } from "playwright-core";
import type { Bench } from "../contest.ts";

/** Typefaces of each script and which texts they are for. */
const SCRIPTS = [
  {
    fonts: ["Amiri", "Noto Naskh Arabic", "Noto Sans Arabic"],
    titles: ["prose", "numbers", "indic", "mixed"],
    size: 19,
  },
  { fonts: ["DejaVu Sans", "Liberation Serif"], titles: ["letter", "invoice"], size: 16 },
];
const PACKAGES = "fonts-hosny-amiri fonts-noto-core fonts-dejavu-core fonts-liberation";

/** The grain of a scanner: grey turbulence over the letters. */
const GRAIN = `<svg style="position: absolute; inset: 0; width: 100%; height: 100%; opacity: .35">
  <filter id="grain"><feTurbulence type="fractalNoise" baseFrequency="0.9" numOctaves="2"/>
  <feColorMatrix type="saturate" values="0"/></filter>
  <rect width="100%" height="100%" filter="url(#grain)"/></svg>`;

/** What happened to a page before it reaches the engine, as styles. */
const WEARS = {
  clean: "",
  "two columns": "main { white-space: pre-line; width: 1000px; columns: 2; column-gap: 60px }",
  turned: "main { transform: rotate(-0.8deg) }",
  pale: "body { background: #d9d5c8 } main { color: #77736c }",
  noisy: "main { filter: blur(0.35px) }",
  "200 dpi": "",
  "150 dpi": "",
};
type Wear = keyof typeof WEARS;
const WORN = Object.keys(WEARS).slice(1) as Wear[];

interface Page {
  title: string;
  font: string;
  wear: Wear;
  text: string;
  size: number;
}

/** Each text in each typeface of its script, clean and once more worn, by one wear in turn. */
function plan(): Page[] {
  const file = readFileSync(join(import.meta.dirname, "../ocr-texts.txt"), "utf8");
  const parts = file.trim().split("\n\n");
  const texts = new Map(parts.map((part) => part.split(/\n(.*)/s, 2) as [string, string]));
  const pages: Page[] = [];
  for (const { fonts, titles, size } of SCRIPTS) {
    for (const font of fonts) {
      // Chromium takes another typeface without a word where one is missing.
      if (execFileSync("fc-list", [font]).length === 0)
        throw new Error(`The typeface ${font} is missing: apt-get install ${PACKAGES}`);
      for (const title of titles) {
        const worn = WORN[(pages.length / 2) % WORN.length] ?? "turned";
        const page = { title, font, size, text: texts.get(title) ?? "" };
        pages.push({ ...page, wear: "clean" }, { ...page, wear: worn });
      }
    }
  }
  return pages;
}

/** As a scanner of 300 dpi sees it, or a coarser one: PNG, or JPEG where it is noisy. */
async function draw(browser: Browser, { font, wear, text, size }: Page): Promise<Buffer> {
  const dpi = wear.endsWith(" dpi") ? Number.parseInt(wear, 10) : 300;
  const context = await browser.newContext({ deviceScaleFactor: dpi / 96 });
  const tab = await context.newPage();
  await tab.setContent(`<!doctype html>
    <style>
      body { margin: 0; background: white; position: relative; width: max-content }
      main { padding: 40px 48px; white-space: pre; width: max-content; unicode-bidi: plaintext;
        font: ${size}px/1.8 "${font}", "Liberation Serif" }
      ${WEARS[wear]}
    </style>
    <main dir="auto">${text.replaceAll("&", "&amp;")}</main>
    ${wear === "noisy" ? GRAIN : ""}`);
  const type = wear === "noisy" ? { type: "jpeg" as const, quality: 60 } : {};
  const picture = await tab.locator("body").screenshot(type);
  await context.close();
  return picture;
}

/** On one line, without the marks of direction that the engine adds, as a search folds it. */
const folded = (text: string): string =>
  text
    .replace(/[\u200e\u200f\u202a-\u202e]/g, "")
    .replace(/\s+/g, " ")
    .trim()
    .normalize("NFKD")
    .replace(/\p{M}|\u0640/gu, "")
    .replaceAll("ى", "ي")
    .replaceAll("ة", "ه")
    .replace(/[٠-٩]/g, (digit) => String(digit.charCodeAt(0) - 0x660))
    .toLowerCase();

/** The Levenshtein distance over the length of what is expected. */
function errorRate(expected: string, got: string): number {
  let row = Array.from({ length: got.length + 1 }, (_, index) => index);
  for (let i = 1; i <= expected.length; i++) {
    const next = [i];
    for (let j = 1; j <= got.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (expected[i - 1] === got[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return (row[got.length] ?? 0) / expected.length;
}

/**
 * How many letters the worker reads wrongly, in percent, of all pages and of each kind; how long it
 * takes. Needs Chromium and the typefaces. Pages of two columns count by themselves: their error
 * rate is that of the columns' order, not of letters.
 */
export async function ocr({ report }: Bench): Promise<void> {
  // Its engines are optional packages.
  const { recognize } = await import("../../../src/worker/ocr.ts");
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
  });
  const results: { title: string; wear: Wear; wrong: number; cpu: number }[] = [];
  try {
    for (const page of plan()) {
      const picture = await draw(browser, page);
      const started = process.cpuUsage();
      const { text: got = "" } = recognize(picture, 1, 0) ?? {};
      const { user, system } = process.cpuUsage(started);
      const wrong = 100 * errorRate(folded(page.text), folded(got));
      results.push({ title: page.title, wear: page.wear, wrong, cpu: (user + system) / 1e6 });
    }
  } finally {
    await browser.close();
  }
  const mean = (name: string, some: typeof results, key: "wrong" | "cpu", unit: string) => {
    const ours = some.reduce((sum, result) => sum + result[key], 0) / some.length;
    report({ name: `ocr: ${name}`, unit, ours });
  };
  const inOneColumn = results.filter(({ wear }) => wear !== "two columns");
  const titles = Map.groupBy(inOneColumn, ({ title }) => title);
  const wears = Map.groupBy(results, ({ wear }) => wear);
  for (const [name, some] of [["all pages", inOneColumn] as const, ...titles, ...wears])
    mean(name, some, "wrong", "% letters");
  mean("a page", results, "cpu", "s CPU");
}
