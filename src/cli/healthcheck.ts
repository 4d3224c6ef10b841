import { get } from "node:http";

/** How long the answer may take, in milliseconds: less than the image's HEALTHCHECK --timeout. */
const TIMEOUT = 4_000;

/** The image's health check: exit code 0 when `GET /` answers 204 in time, else 1. */
function check(host: string, port: number): void {
  // A connection of its own: the global agent may be told to use a proxy (NODE_USE_ENV_PROXY).
  const request = get({ host, port, path: "/", agent: false }, ({ statusCode }) => {
    process.exit(statusCode === 204 ? 0 : 1);
  });
  request.on("error", () => process.exit(1));
  setTimeout(() => process.exit(1), TIMEOUT);
}

/** Who listens on every address answers on the loopback one. */
function reachable(host: string | undefined): string {
  if (!host || host === "0.0.0.0") return "127.0.0.1";
  return host === "::" ? "::1" : host;
}

try {
  process.loadEnvFile(".env");
} catch {
  // The server runs without one too.
}
check(reachable(process.env.HOST), Number(process.env.PORT || 8000));
