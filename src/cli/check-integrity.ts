import { checkAll } from "../domain/integrity.ts";
import { print, printFinding, withStores } from "./commands.ts";

/** Milliseconds between two lines of progress. */
const PROGRESS_INTERVAL = 250;

/** Prints each finding, and on a terminal the progress. Whether there are none. */
export function checkIntegrity(): Promise<boolean> {
  return withStores(true, async (stores) => {
    const progress = (text: string) => {
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
    };
    const counts = { documents: 0, blobs: 0, findings: 0 };
    const sum = () =>
      `${counts.documents} documents, ${counts.blobs} blobs: ${counts.findings} findings`;
    let next = 0;
    for await (const { documents, blobs, findings } of checkAll(stores)) {
      if (findings.length > 0) progress("");
      for (const finding of findings) printFinding(finding);
      counts.documents += documents;
      counts.blobs += blobs;
      counts.findings += findings.length;
      if (performance.now() < next) continue;
      progress(sum());
      next = performance.now() + PROGRESS_INTERVAL;
    }
    progress("");
    print(`Checked ${sum()}.`);
    return counts.findings === 0;
  });
}
