import type { AccessLevel } from "../../src/routes/access.ts";

/** The routes that exist, as the specification has them: method, path and who passes. */
export const ROUTES: readonly [method: string, path: string, level: AccessLevel][] = [
  ["GET", "/", "public"],
  ["GET", "/ready", "public"],
  ["POST", "/api/v1/auth/register", "public"],
  ["POST", "/api/v1/auth/login", "public"],
  ["POST", "/api/v1/auth/refresh", "public"],
  ["POST", "/api/v1/auth/logout", "user"],
  ["POST", "/api/v1/auth/password-reset", "public"],
  ["GET", "/api/v1/users", "admin"],
  ["GET", "/api/v1/users/pending", "admin"],
  ["GET", "/api/v1/users/me", "user"],
  ["PATCH", "/api/v1/users/me", "active"],
  ["POST", "/api/v1/users/me/password", "active"],
  ["POST", "/api/v1/users/:user_id/password-reset", "admin"],
  ["GET", "/api/v1/users/:user_id", "admin"],
  ["PATCH", "/api/v1/users/:user_id", "admin"],
  ["PATCH", "/api/v1/users/:user_id/activate", "admin"],
  ["DELETE", "/api/v1/users/:user_id", "admin"],
  ["GET", "/api/v1/roles", "admin"],
  ["POST", "/api/v1/docs/upload", "active"],
  ["GET", "/api/v1/docs", "admin"],
  ["GET", "/api/v1/docs/me", "active"],
  ["GET", "/api/v1/docs/:doc_id", "active"],
  ["GET", "/api/v1/docs/:doc_id/status", "active"],
  ["GET", "/api/v1/docs/:doc_id/download", "active"],
  ["DELETE", "/api/v1/docs/:doc_id", "admin"],
  ["GET", "/api/v1/paths", "active"],
  ["POST", "/api/v1/paths", "admin"],
  ["GET", "/api/v1/paths/:path_id", "active"],
  ["PATCH", "/api/v1/paths/:path_id", "admin"],
  ["DELETE", "/api/v1/paths/:path_id", "admin"],
  ["GET", "/api/v1/logs", "admin"],
];

/** What the specification adds for later: 404 until it exists. */
export const MISSING: readonly [method: string, path: string][] = [
  ["GET", "/api/v1/docs/1/content"],
  ["POST", "/api/v1/docs/1/reprocess"],
  ["GET", "/api/v1/docs/search?q=report"],
];
