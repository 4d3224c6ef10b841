import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, extname } from "node:path";
import { AppError } from "../errors.ts";
import { json, type Reply } from "../http/replies.ts";
import type { Request } from "../http/request.ts";

/** Seen from `src/routes` as well as from `dist/routes`. */
const { resolve } = createRequire(new URL("../../package.json", import.meta.url));
/** `npm run build` writes it. */
const BUILT_JSON = new URL("../openapi.json", import.meta.url);

const CONTENT_TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".yaml": "application/yaml; charset=utf-8",
};

/** What each page loads: files of ours and of dev dependencies. */
const SWAGGER_UI = [
  "./reference/swagger-ui.js",
  "./reference/compact.css",
  "swagger-ui-dist/swagger-ui.css",
  "swagger-ui-dist/swagger-ui-bundle.js",
];
const REDOC = ["redoc/bundles/redoc.standalone.js"];

/** Only this server is asked. ReDoc starts a worker and makes two styles, one of them empty. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' " +
  "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' " +
  "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='; " +
  "worker-src blob:; img-src data:; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** The API's description and its pages, for `ENVIRONMENT=dev`. The image lacks the pages: 404. */
export function createReferenceRoutes() {
  return {
    swaggerUi: () => page("./reference/swagger-ui.html"),
    redoc: () => page("./reference/redoc.html"),
    swaggerUiFile: ({ params }: Request) => send(SWAGGER_UI.find(isNamed(params.file))),
    redocFile: ({ params }: Request) => send(REDOC.find(isNamed(params.file))),
    yaml: () => send("./openapi.yaml"),
    json: async () => json(await readDescription()),
  };
}

const isNamed = (name: string | undefined) => (file: string) => basename(file) === name;

const page = (file: string) => send(file, { "Content-Security-Policy": POLICY });

async function send(file = "", headers = {}): Promise<Reply> {
  const type = { "Content-Type": CONTENT_TYPES[extname(file)] ?? "" };
  try {
    return { status: 200, headers: { ...type, ...headers }, body: await readFile(resolve(file)) };
  } catch (error) {
    throw new AppError("not_found", "Not Found", { cause: error });
  }
}

async function readDescription(): Promise<unknown> {
  if (existsSync(BUILT_JSON)) return JSON.parse(await readFile(BUILT_JSON, "utf8"));
  const { parse } = await import("yaml");
  return parse(await readFile(resolve("./openapi.yaml"), "utf8"));
}
