import { AppError } from "../errors.ts";
import type { Route } from "./request.ts";

export type Router = ReturnType<typeof createRouter>;

const NO_PARAMS: Readonly<Record<string, string>> = Object.create(null);

/**
 * A router of exact segments and `:parameters`; the first row whose path matches decides. It takes
 * a percent-encoded path that decodes; 404 when nothing lives there.
 */
export function createRouter(table: readonly Route[]) {
  const byPath = Map.groupBy(table, ({ path }) => path);
  const resources = Array.from(byPath, ([pattern, rows]) => resourceOf(pattern, rows));
  const find = (asked: readonly string[]) =>
    resources.find(({ segments }) => matches(segments, asked));
  const fixed = resources.filter(
    (resource) => !resource.segments.some(isParameter) && find(resource.segments) === resource,
  );
  // No search for these.
  const known = new Map(fixed.map((resource) => [trim(resource.pattern), resource]));
  return (path: string) => {
    const direct = known.get(trim(path));
    if (direct) return { resource: direct, params: NO_PARAMS };
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

function resourceOf(pattern: string, rows: readonly Route[]) {
  const methods = rows.flatMap(({ method }) => (method === "GET" ? [method, "HEAD"] : method));
  const allow = [...methods, "OPTIONS"].join(", ");
  const routes = new Map<string, Route>(rows.map((row) => [row.method, row]));
  return {
    pattern,
    segments: split(pattern),
    allow,
    /** The row that serves the method (HEAD by GET); 405 with `Allow` when there is none. */
    route(method: string): Route {
      const route = routes.get(method === "HEAD" ? "GET" : method);
      if (route) return route;
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
