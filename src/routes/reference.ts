import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { extname } from "node:path";
import { AppError } from "../errors.ts";
import type { Reply } from "../http/replies.ts";
import type { Request } from "../http/request.ts";

/** Seen from `src/routes` as well as from `dist/routes`. */
const { resolve } = createRequire(new URL("../../package.json", import.meta.url));
/** `npm run build` writes it beside the compiled code. */
const COMPILED_JSON = new URL("../openapi.json", import.meta.url);

const CONTENT_TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json; charset=utf-8",
  ".yaml": "application/yaml; charset=utf-8",
};

/** What each page loads: files of ours and of dev dependencies. */
const SWAGGER_UI = [
  "./reference/page.css",
  "./reference/swagger-ui.js",
  "swagger-ui-dist/swagger-ui.css",
  "swagger-ui-dist/swagger-ui-bundle.js",
];
const REDOC = ["./reference/page.css", "redoc/bundles/redoc.standalone.js"];

/** Only this server is asked. ReDoc starts a worker and makes two styles, one of them empty. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' " +
    "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='",
  "worker-src blob:",
  "img-src data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

/**
 * The API's description and the pages that show it, for `ENVIRONMENT=dev`. The image has neither
 * the pages nor the dev dependencies: they are a 404 there.
 */
export function createReferenceRoutes() {
  return {
    swaggerUi: () => send("./reference/swagger-ui.html"),
    redoc: () => send("./reference/redoc.html"),
    swaggerUiFile: ({ params }: Request) => send(SWAGGER_UI.find(isNamed(params.file))),
    redocFile: ({ params }: Request) => send(REDOC.find(isNamed(params.file))),
    yaml: () => send("./openapi.yaml"),
    json: async () => reply(".json", await readJson()),
  };
}

const isNamed =
  (name = "") =>
  (file: string) =>
    file.endsWith(`/${name}`);

function reply(extension: string, body: string | Buffer): Reply {
  const headers = {
    "Content-Type": CONTENT_TYPES[extension] ?? "",
    ...(extension === ".html" ? { "Content-Security-Policy": POLICY } : {}),
  };
  return { status: 200, headers, body };
}

async function send(file: string | undefined): Promise<Reply> {
  try {
    return reply(extname(file ?? ""), await readFile(resolve(file ?? "")));
  } catch (error) {
    throw new AppError("not_found", "Not Found", { cause: error });
  }
}

/** Sources run where the dev dependency `yaml` is; compiled code has the description as JSON. */
async function readJson(): Promise<string> {
  try {
    return await readFile(COMPILED_JSON, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    const { parse } = await import("yaml");
    return JSON.stringify(parse(await readFile(resolve("./openapi.yaml"), "utf8")));
  }
}
