import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { test } from "node:test";
import { BlobServiceClient } from "@azure/storage-blob";
import { AzureBlobStorage } from "../../src/storage/azure-blob.ts";
import { ACCOUNT_KEY, startAzurite } from "../support/azurite.ts";

const NAMES = [
  "report.pdf",
  "تقرير نهائي ٢٠٢٦.pdf",
  "a#b.pdf",
  "literally %20 and %2F.pdf",
  "100%.pdf",
  "a+b c.pdf",
  "what?.pdf",
  "semi;colon & 'quotes' \"twice\".pdf",
  "😀.pdf",
  "e\u0301 is not \u00e9.pdf",
  "ملف".repeat(85),
];

/** What the platform's workers make of a message's `file_path`: host and container off, percent-decoded. */
function blobNameOf(filePath: string): string {
  const path = filePath.replace(/^https?:\/\/[^/]+\//, "");
  return decodeURIComponent(path.slice(path.indexOf("/") + 1));
}

/** The storage settings that compose.yaml gives the server, the account's key filled in. */
async function composeStorage(): Promise<{ connectionString: string; container: string }> {
  const text = await readFile(new URL("../../compose.yaml", import.meta.url), "utf8");
  const value = (name: string) => new RegExp(`^ +${name}: "?([^"\n]+)`, "m").exec(text)?.[1] ?? "";
  return {
    connectionString: value("BLOB_CONNECTION_STR").replace(/\$\{[^}]+\}/, ACCOUNT_KEY),
    container: value("BLOB_STORAGE_CONTAINER_NAME"),
  };
}

test("a worker finds every blob by the URL of its upload, at the endpoint of compose.yaml", async () => {
  const { connectionString, container } = await composeStorage();
  const { hostname } = new URL(/BlobEndpoint=([^;]+)/.exec(connectionString)?.[1] ?? "");
  // At port 10000 the SDK takes some hosts for path-style ones: not this one.
  const sdk = BlobServiceClient.fromConnectionString(connectionString);
  assert.equal(sdk.accountName, hostname.split(".")[0]);
  assert.equal(sdk.getContainerClient(container).containerName, container);

  const azurite = await startAzurite({ host: hostname });
  const here = connectionString.replace(":10000", `:${azurite.port}`);
  const storage = new AzureBlobStorage({ connectionString: here, container });
  try {
    const worker = BlobServiceClient.fromConnectionString(azurite.connectionString);
    for (const [index, filename] of NAMES.entries()) {
      const key = `0000-${index}/${filename}`;
      const url = await storage.upload(Readable.from([filename]), key);
      assert.match(url, /^http:\/\/nassaq\.blob\.azurite:\d+\/documents\/0000-/);
      assert.equal(blobNameOf(url), key);
      const blob = worker.getContainerClient(container).getBlockBlobClient(blobNameOf(url));
      assert.equal((await blob.downloadToBuffer()).toString(), filename);
      assert.equal((await storage.download(url)).toString(), filename);
    }
  } finally {
    await storage.close();
    await azurite.close();
  }
});
