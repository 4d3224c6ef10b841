import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { AppError } from "../errors.ts";
import { matchesIfNoneMatch } from "../http/downloads.ts";
import type { Reply } from "../http/replies.ts";
import type { Request } from "../http/request.ts";
import { type Bundle, isLocal, localFile, page, REDOC, SWAGGER_UI } from "./docs-pages.ts";

/** The folder of package.json, seen from `src/routes` as well as from `dist/routes`. */
const PACKAGE = new URL("../../", import.meta.url);
/** Written by `npm run build` beside the compiled code. */
const COMPILED_JSON = new URL("../openapi.json", import.meta.url);

/** The API's description and the pages that show it; for `ENVIRONMENT=dev` only. */
export function createDocsRoutes() {
  const swaggerUi = page(SWAGGER_UI, isLocal(SWAGGER_UI));
  const redoc = page(REDOC, isLocal(REDOC));
  return {
    swaggerUi: () => swaggerUi,
    redoc: () => redoc,
    swaggerUiFile: (request: Request) => file(SWAGGER_UI, request),
    redocFile: (request: Request) => file(REDOC, request),

    async yaml(): Promise<Reply> {
      return text("application/yaml; charset=utf-8", await readYaml());
    },

    async json(): Promise<Reply> {
      return text("application/json; charset=utf-8", await readJson());
    },
  };
}

function text(contentType: string, body: string): Reply {
  return { status: 200, headers: { "Content-Type": contentType }, body };
}

function readYaml(): Promise<string> {
  return readFile(new URL("openapi.yaml", PACKAGE), "utf8");
}

/** Compiled code has the description as JSON beside it; sources run where the dev dependency `yaml` is. */
async function readJson(): Promise<string> {
  try {
    return await readFile(COMPILED_JSON, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    const { parse } = await import("yaml");
    return JSON.stringify(parse(await readYaml()));
  }
}

/** A file of a bundle. Browsers ask each time whether their copy is still right: an update shows at once. */
async function file(bundle: Bundle, { params, headers }: Request): Promise<Reply> {
  const path = localFile(bundle, params.file ?? "");
  if (path === undefined) throw new AppError("not_found", "Not Found");
  const body = await readFile(path);
  const etag = `"${createHash("sha256").update(body).digest("hex")}"`;
  const caching = { "Cache-Control": "no-cache", ETag: etag };
  if (matchesIfNoneMatch(headers["if-none-match"], etag)) return { status: 304, headers: caching };
  const contentType = path.endsWith(".css")
    ? "text/css; charset=utf-8"
    : "text/javascript; charset=utf-8";
  return { status: 200, headers: { "Content-Type": contentType, ...caching }, body };
}
