import { AppError } from "../errors.ts";
import type { Route } from "./request.ts";

/** What lives at the paths of one pattern. */
interface Resource {
  readonly pattern: string;
  readonly segments: readonly string[];
  readonly allow: string;
  /** The row that serves the method (HEAD by GET); 405 with `Allow` when there is none. */
  route(method: string): Route;
}

export type Router = ReturnType<typeof createRouter>;

const NO_PARAMS: Readonly<Record<string, string>> = Object.freeze(Object.create(null));

/**
 * A router of exact segments and `:parameters`; the first row whose path matches decides. It takes
 * a percent-encoded path that decodes; 404 when nothing lives there.
 */
export function createRouter(table: readonly Route[]) {
  const patterns = [...new Set(table.map(({ path }) => path))];
  const resources = patterns.map((pattern) => resourceOf(pattern, table));
  const find = (asked: readonly string[]) =>
    resources.find(({ segments }) => matches(segments, asked));
  // These paths need no search.
  const fixed = new Map<string, Resource>();
  for (const resource of resources)
    if (!resource.segments.some(isParameter) && find(resource.segments) === resource)
      fixed.set(trim(resource.pattern), resource);
  return (path: string) => {
    const known = fixed.get(trim(path));
    if (known) return { resource: known, params: NO_PARAMS };
    // Split before decoding: an encoded slash is part of its segment.
    const asked = split(path).map(decodeURIComponent);
    const resource = find(asked);
    if (!resource) throw new AppError("not_found", "Not Found");
    const params: Record<string, string> = Object.create(null);
    for (const [at, name] of resource.segments.entries())
      if (isParameter(name)) params[name.slice(1)] = asked[at] ?? "";
    return { resource, params };
  };
}

function resourceOf(pattern: string, table: readonly Route[]): Resource {
  const rows = table.filter(({ path }) => path === pattern);
  const routes = new Map(rows.map((row) => [row.method as string, row]));
  const get = routes.get("GET");
  if (get) routes.set("HEAD", get);
  const methods = rows.flatMap(({ method }) => (method === "GET" ? [method, "HEAD"] : method));
  const allow = [...methods, "OPTIONS"].join(", ");
  return {
    pattern,
    segments: split(pattern),
    allow,
    route(method) {
      const row = routes.get(method);
      if (row) return row;
      const headers = { Allow: allow };
      throw new AppError("method_not_allowed", "Method Not Allowed", { headers });
    },
  };
}

const isParameter = (segment: string) => segment.startsWith(":");

const matches = (segments: readonly string[], asked: readonly string[]) =>
  segments.length === asked.length &&
  segments.every((name, at) => (isParameter(name) ? asked[at] !== "" : asked[at] === name));

/** A slash at the end does not count. */
const trim = (path: string) => (path.endsWith("/") ? path.slice(0, -1) : path);
const split = (path: string) => trim(path).split("/").slice(1);
