import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { type Browser, chromium, type Page } from "playwright-core";
import { ADMIN, type DevServer, startDevServer } from "./dev-server.ts";
import { operations } from "./document.ts";

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
  existsSync,
);
// CI installs one: there its absence is a failure.
const skip = CHROMIUM === undefined && !process.env.CI ? "no chromium in /usr/bin" : false;

let server: DevServer;
let browser: Browser;
let screenshots: string;

before(async () => {
  if (skip) return;
  screenshots = process.env.SCREENSHOTS ?? (await mkdtemp(join(tmpdir(), "nassaq-screenshots-")));
  server = await startDevServer({ env: { ACCESS_TOKEN_EXPIRE_MINUTES: "60" } });
  browser = await chromium.launch({
    executablePath: CHROMIUM ?? "/usr/bin/chromium",
    args: [
      ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
      ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
    ],
  });
});

after(async () => {
  await browser?.close();
  await server?.stop();
  if (screenshots && !process.env.SCREENSHOTS)
    await rm(screenshots, { recursive: true, force: true });
});

/** Where ReDoc's footer would show its vendor's logo from. */
const LOGO = "https://cdn.redoc.ly/redoc/logo-mini.svg";

/** A page that remembers what a browser complains of, violations of the policy included. */
async function openPage(): Promise<{ page: Page; complaints: string[] }> {
  const context = await browser.newContext({ viewport: { width: 1400, height: 1000 } });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("requestfailed", (request) => complaints.push(`failed: ${request.url()}`));
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol.startsWith("http") && origin !== server.url)
      complaints.push(`elsewhere: ${request.url()}`);
  });
  return { page, complaints };
}

async function showsAllInSwaggerUi(page: Page): Promise<void> {
  await page
    .locator(".opblock")
    .nth(operations.length - 1)
    .waitFor();
  const methods = await page.locator(".opblock-summary-method").allTextContents();
  const paths = await page.locator(".opblock-summary-path").allTextContents();
  // Swagger UI lets long paths break where it puts zero-width spaces.
  const shown = methods.map(
    (method, index) => `${method} ${paths[index]?.replaceAll("\u200b", "")}`,
  );
  assert.deepEqual(shown.sort(), operations.map(({ method, path }) => `${method} ${path}`).sort());
}

async function showsAllInRedoc(page: Page): Promise<void> {
  for (const { operationId } of operations) {
    await page.locator(`[id$="operation/${operationId}"]`).first().waitFor({ state: "attached" });
  }
}

test("Swagger UI shows all operations; after Authorize, Try it out on one's own account answers 200", {
  skip,
}, async () => {
  const { page, complaints } = await openPage();
  await page.clock.install();
  await page.goto(`${server.url}/docs`);
  await showsAllInSwaggerUi(page);
  await page.screenshot({ path: join(screenshots, "swagger-ui.png"), fullPage: true });

  await page.locator(".auth-wrapper .authorize").first().click();
  const password = page.locator(".auth-container", { hasText: "OAuth2, password" });
  await password.locator("#oauth_username").fill(ADMIN.email);
  await password.locator("#oauth_password").fill(ADMIN.password);
  await password.locator("button.authorize").click();
  await password.locator("button", { hasText: "Logout" }).waitFor();
  await page.screenshot({ path: join(screenshots, "swagger-ui-authorized.png") });
  await page.locator(".modal-ux .btn-done").first().click();

  const operation = page.locator("#operations-Users-getMe");
  await operation.locator(".opblock-summary-control").click();
  await operation.locator(".try-out__btn").click();
  const tokenSent = async () => {
    const sent = page.waitForRequest("**/users/me");
    await operation.locator(".execute").click();
    const request = await sent;
    assert.equal((await request.response())?.status(), 200);
    return request.headers().authorization;
  };
  const first = await tokenSent();
  const live = operation.locator(".live-responses-table .response");
  assert.equal((await live.locator(".response-col_status").first().innerText()).trim(), "200");
  assert.match(await live.innerText(), new RegExp(ADMIN.email));
  await operation.screenshot({ path: join(screenshots, "swagger-ui-me.png") });

  // Once the token of Authorize is over the page sends newer ones, of the same session.
  await page.clock.fastForward("01:01:00");
  const again = [await tokenSent(), await tokenSent()];
  assert.ok(again[0]?.startsWith("Bearer ey") && again[0] !== first, String(again));
  assert.equal(again[1], again[0], "one refresh is enough");

  const upload = page.locator("#operations-Documents-uploadDocument");
  await upload.locator(".opblock-summary-control").click();
  await upload.locator(".response[data-code=default] pre").waitFor();
  const { height = 0 } = (await upload.boundingBox()) ?? {};
  assert.ok(height < 2_000, `the upload is ${height} px tall: it fits two screens`);
  await upload.screenshot({ path: join(screenshots, "swagger-ui-upload-described.png") });
  await upload.locator(".try-out__btn").click();
  const chosen = {
    name: "letter.txt",
    mimeType: "text/plain",
    buffer: Buffer.from("Dear colleagues,\n"),
  };
  await upload.locator("input[type=file]").setInputFiles(chosen);
  await upload.locator("tr", { hasText: "full_path" }).locator("input, textarea").first().fill("/");
  await upload.locator(".execute").click();
  const uploaded = upload.locator(".live-responses-table .response");
  await upload.screenshot({ path: join(screenshots, "swagger-ui-upload.png") });
  assert.equal((await uploaded.locator(".response-col_status").first().innerText()).trim(), "201");
  assert.deepEqual(complaints, []);
  await page.context().close();
});

test("ReDoc shows all operations, and finds one", { skip }, async () => {
  const { page, complaints } = await openPage();
  await page.goto(`${server.url}/redoc`);
  await showsAllInRedoc(page);
  await page.screenshot({ path: join(screenshots, "redoc.png") });
  await page.locator('input[placeholder="Search..."]').fill("download");
  await page
    .locator('[data-role="search:results"]', { hasText: "Download the original file" })
    .waitFor();
  await page.locator('[id$="operation/uploadDocument"]').first().scrollIntoViewIfNeeded();
  await page.screenshot({ path: join(screenshots, "redoc-upload.png") });
  // The policy keeps the logo out, and there is nothing else to keep out.
  assert.ok(complaints.includes(`failed: ${LOGO}`), String(complaints));
  assert.deepEqual(
    complaints.filter((complaint) => !complaint.includes(LOGO)),
    [],
  );
  await page.context().close();
});
