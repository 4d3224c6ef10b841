import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import type { Reply } from "../http/replies.ts";

/** A page and the package whose files it loads. */
export interface Bundle {
  title: string;
  /** Where the page is; its files are right below. */
  path: string;
  package: string;
  version: string;
  /** Names in the package with their hashes (Subresource Integrity §3.5). */
  files: Readonly<Record<string, string>>;
  body: string;
  /** Runs when the files have run. */
  script: string;
  /** Sources of styles and of workers that its content security policy allows beside the files. */
  styles: readonly string[];
  workers: string;
}

// Versions and hashes of the locked dev dependencies; test/docs.test.ts compares them.
export const SWAGGER_UI: Bundle = {
  title: "NassaQ Server: Swagger UI",
  path: "/docs",
  package: "swagger-ui-dist",
  version: "5.35.0",
  files: {
    "swagger-ui.css": "sha384-WlYgdmXYOOBWL5apwjDEZwN+U3HmXSSu5R6V5aGxEcf7z+KuRNwBhoxKVN1i3D5I",
    "swagger-ui-bundle.js":
      "sha384-gjRm0bEPMeTmMh5jT2cHccIwCUZSTd8YC+j0d0sXw0MdGEfScduGpSyF3ZSSLkX9",
  },
  body: '<div id="swagger-ui"></div>',
  script: `document.body.style.margin = "0";
SwaggerUIBundle({ dom_id: "#swagger-ui", url: "/openapi.json", deepLinking: true, showExtensions: true, validatorUrl: null });`,
  styles: [],
  workers: "'none'",
};

export const REDOC: Bundle = {
  title: "NassaQ Server: ReDoc",
  path: "/redoc",
  package: "redoc",
  version: "2.5.4",
  files: {
    "bundles/redoc.standalone.js":
      "sha384-w447zOpYfw/1Tv/5AK9NfHTlQIqE3RVR6KY62jCyy9zNDgO64cMwGGP1Fj0zJVf5",
  },
  body: '<div id="redoc"></div>',
  // The footer of the bundle shows its vendor's logo, from the vendor's server: nothing is asked of others here.
  script: `document.body.style.margin = "0";
const image = HTMLImageElement.prototype;
const inside = (address) => (/^https?:/.test(address) ? "data:," : address);
const { get, set } = Object.getOwnPropertyDescriptor(image, "src");
Object.defineProperty(image, "src", { get, set(value) { set.call(this, inside(value)); } });
image.setAttribute = function (name, value) {
  Element.prototype.setAttribute.call(this, name, name === "src" ? inside(value) : value);
};
Redoc.init("/openapi.json", { showExtensions: true }, document.getElementById("redoc"));`,
  // Empty style elements, which a script fills, and the scroll bar's.
  styles: [
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='",
    "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='",
  ],
  // The search.
  workers: "blob:",
};

const CDN = "https://cdn.jsdelivr.net/npm";

/** The page: its files come from here (`local`) or, in the same version, from a public CDN. */
export function page(bundle: Bundle, local: boolean): Reply {
  const names = Object.keys(bundle.files);
  const addressOf = (name: string) =>
    local
      ? `${bundle.path}/${baseName(name)}`
      : `${CDN}/${bundle.package}@${bundle.version}/${name}`;
  const sources = (extension: string) =>
    names
      .filter((name) => name.endsWith(extension))
      .map((name) => (local ? "'self'" : addressOf(name)));
  const tags = names.map((name) => {
    const attributes = `integrity="${bundle.files[name]}" crossorigin="anonymous"`;
    return name.endsWith(".css")
      ? `<link rel="stylesheet" href="${addressOf(name)}" ${attributes}>`
      : `<script src="${addressOf(name)}" ${attributes}></script>`;
  });
  const scriptHash = createHash("sha256").update(bundle.script).digest("base64");
  const policy = [
    "default-src 'none'",
    `script-src ${sources(".js").join(" ")} 'sha256-${scriptHash}'`,
    `style-src ${[...sources(".css"), ...bundle.styles].join(" ")}`,
    `worker-src ${bundle.workers}`,
    "img-src data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
  const body = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${bundle.title}</title>
<link rel="icon" href="data:,">
</head>
<body>
${bundle.body}
${tags.join("\n")}
<script>${bundle.script}</script>
</body>
</html>
`;
  const headers = { "Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy };
  return { status: 200, headers, body };
}

/** Whether the dev dependency is here. */
export function isLocal(bundle: Bundle): boolean {
  return Object.keys(bundle.files).every((name) => localFile(bundle, baseName(name)) !== undefined);
}

/** Where the dev dependency keeps a file of the bundle; undefined for any other name, and when the package is absent. */
export function localFile(bundle: Bundle, name: string): string | undefined {
  const inPackage = Object.keys(bundle.files).find((candidate) => baseName(candidate) === name);
  if (inPackage === undefined) return undefined;
  try {
    return createRequire(import.meta.url).resolve(`${bundle.package}/${inPackage}`);
  } catch {
    return undefined;
  }
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
