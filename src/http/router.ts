import { AppError } from "../errors.ts";
import type { Route } from "./request.ts";

/** The rows of the table that share the path of a request. */
export interface Match<R> {
  /** The rows' path, with the names of its parameters. */
  readonly pattern: string;
  /** Percent-decoded path parameters by name. */
  readonly params: Readonly<Record<string, string>>;
  /** The value of the `Allow` header. */
  readonly allow: string;
  /** The row that serves the method (HEAD by GET); 405 with `Allow` when there is none. */
  route(method: string): R;
}

export interface Router<R> {
  /** `path` is percent-encoded, and decodes. Throws 404 when no row has such a path. */
  match(path: string): Match<R>;
}

interface Resource<R> {
  pattern: string;
  segments: readonly string[];
  routes: Map<string, R>;
}

/**
 * A router of exact segments and `:parameters`. The first row whose path matches decides, so exact
 * paths stand before parameters. Throws when a row can never be reached.
 */
export function createRouter<R extends Pick<Route, "method" | "path">>(
  table: readonly R[],
): Router<R> {
  const resources: Resource<R>[] = [];
  const find = (segments: readonly string[]) =>
    resources.find((resource) => matches(resource.segments, segments));
  for (const route of table) {
    const segments = split(route.path);
    if (!route.path.startsWith("/") || segments.includes(""))
      throw new Error(`Not the path of a route: ${route.path}`);
    const pattern = `/${segments.join("/")}`;
    const resource = find(segments) ?? { pattern, segments, routes: new Map() };
    if (resource.routes.size === 0) resources.push(resource);
    if (resource.pattern !== pattern || resource.routes.has(route.method))
      throw new Error(`Another row of the table hides ${route.method} ${route.path}`);
    resource.routes.set(route.method, route);
  }
  return {
    match(path) {
      // Split before decoding: an encoded slash is part of its segment.
      const segments = split(path).map(decodeURIComponent);
      const resource = find(segments);
      if (!resource) throw new AppError("not_found", "Not Found");
      return matched(resource, segments);
    },
  };
}

function matched<R>({ pattern, segments, routes }: Resource<R>, actual: string[]): Match<R> {
  const params: Record<string, string> = Object.create(null);
  for (const [index, segment] of segments.entries())
    if (isParameter(segment)) params[segment.slice(1)] = actual[index] ?? "";
  const methods = [...routes.keys()].flatMap((name) => (name === "GET" ? [name, "HEAD"] : [name]));
  const allow = [...methods, "OPTIONS"].join(", ");
  return {
    pattern,
    params,
    allow,
    route(method) {
      const route = routes.get(method === "HEAD" ? "GET" : method);
      if (route) return route;
      throw new AppError("method_not_allowed", "Method Not Allowed", { headers: { Allow: allow } });
    },
  };
}

function matches(pattern: readonly string[], segments: readonly string[]): boolean {
  return (
    pattern.length === segments.length &&
    pattern.every((expected, index) =>
      isParameter(expected) ? segments[index] !== "" : segments[index] === expected,
    )
  );
}

function isParameter(segment: string): boolean {
  return segment.startsWith(":");
}

/** The segments of a path; a slash at its end does not count. */
function split(path: string): string[] {
  return path.replace(/\/$/, "").split("/").slice(1);
}
