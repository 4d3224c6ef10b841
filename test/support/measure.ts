import { globSync, readFileSync } from "node:fs";
import { ts } from "@ts-morph/common";

/** Fails `npm run check` when a source file or a function is longer, in lines. */
const MAX_FILE = 250;
const MAX_FUNCTION = 80;
const MAX_COLUMNS = 100;

interface Size {
  where: string;
  lines: number;
}

function functionsOf(file: string, text: string): Size[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const lineOf = (position: number) => source.getLineAndCharacterOfPosition(position).line + 1;
  const found: Size[] = [];
  const visit = (node: ts.Node) => {
    if (ts.isFunctionLike(node) && "body" in node && node.body) {
      const first = lineOf(node.getStart(source));
      found.push({ where: `${file}:${first}`, lines: lineOf(node.end) - first + 1 });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

const longest = (sizes: Size[]): Size =>
  sizes.reduce((a, b) => (b.lines > a.lines ? b : a), { where: "none", lines: 0 });

const files = globSync("src/**/*.ts").sort();
const texts = files.map((file) => readFileSync(file, "utf8"));
const linesOf = (text: string) => text.split("\n").length - 1;
const fileSizes = files.map((where, index) => ({ where, lines: linesOf(texts[index] ?? "") }));
const functionSizes = files.flatMap((file, index) => functionsOf(file, texts[index] ?? ""));
const wide = files.flatMap((file, index) =>
  (texts[index] ?? "")
    .split("\n")
    .flatMap((line, at) => (line.length > MAX_COLUMNS ? [`${file}:${at + 1}`] : [])),
);

const lines = fileSizes.reduce((sum, size) => sum + size.lines, 0);
const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
const file = longest(fileSizes);
const longestFunction = longest(functionSizes);
process.stdout.write(
  `source: ${files.length} files, ${lines} lines, ${bytes} bytes; ` +
    `longest file ${file.lines} (${file.where}), ` +
    `longest function ${longestFunction.lines} (${longestFunction.where})\n`,
);

const faults = [
  ...fileSizes.filter((size) => size.lines > MAX_FILE),
  ...functionSizes.filter((size) => size.lines > MAX_FUNCTION),
].map(({ where, lines: count }) => `${where} is ${count} lines long`);
for (const place of wide) faults.push(`${place} is wider than ${MAX_COLUMNS} columns`);
for (const fault of faults) process.stderr.write(`${fault}\n`);
if (faults.length > 0) process.exitCode = 1;
