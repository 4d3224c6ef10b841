import { checkAll } from "../domain/integrity.ts";
import { print, printFinding, withStores } from "./commands.ts";

/** Milliseconds between two lines of progress. */
const PROGRESS_INTERVAL = 250;

/** Prints each finding, and on a terminal the progress. Whether there are none. */
export function checkIntegrity(): Promise<boolean> {
  return withStores({ readOnly: true }, async (stores) => {
    const { stderr } = process;
    const counts = { documents: 0, blobs: 0, findings: 0 };
    const sum = () =>
      `${counts.documents} documents, ${counts.blobs} blobs: ${counts.findings} findings`;
    let next = 0;
    for await (const { documents, blobs, findings } of checkAll(stores)) {
      if (stderr.isTTY && findings.length > 0) stderr.write("\r\x1b[K");
      for (const finding of findings) printFinding(finding);
      counts.documents += documents;
      counts.blobs += blobs;
      counts.findings += findings.length;
      if (!stderr.isTTY || performance.now() < next) continue;
      stderr.write(`\r\x1b[K${sum()}`);
      next = performance.now() + PROGRESS_INTERVAL;
    }
    if (stderr.isTTY) stderr.write("\r\x1b[K");
    print(`Checked ${sum()}.`);
    return counts.findings === 0;
  });
}
