/** A step of the demo that did not do what it should. */
export class DemoFailure extends Error {
  override readonly name = "DemoFailure";
}

/** The fields of the answers that the demo looks at. */
interface Body {
  access_token: string;
  refresh_token: string;
  user_id: number;
  doc_id: number;
  id: number;
  total: number;
  status: string;
}

export interface Answer {
  body: Body;
  bytes: Buffer;
  headers: Headers;
}

export interface Call {
  /** What the step shows, in words. */
  title: string;
  /** What the answer's status must be. */
  status: number;
  token?: string;
  json?: unknown;
  form?: Record<string, string>;
  file?: { name: string; bytes: Buffer; path: string };
  headers?: Record<string, string>;
}

/** How long one answer may take, in milliseconds. */
const TIMEOUT = 60_000;

/** Sends a request, prints its line, and throws `DemoFailure` when the status is another one or no answer comes. */
export async function request(
  url: string,
  method: string,
  path: string,
  options: Call,
  print: (line: string) => void,
): Promise<Answer> {
  const headers: Record<string, string> = { ...options.headers };
  if (options.token) headers.Authorization = `Bearer ${options.token}`;
  let body: RequestInit["body"] = null;
  if (options.json !== undefined) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(options.json);
  } else if (options.form) {
    body = new URLSearchParams(options.form);
  } else if (options.file) {
    body = new FormData();
    body.append("full_path", options.file.path);
    body.append("file", new Blob([new Uint8Array(options.file.bytes)]), options.file.name);
  }
  const step = `${method} ${path} (${options.title})`;
  const { response, bytes } = await answerTo(url + path, { method, headers, body }).catch(
    (error: Error) => {
      throw new DemoFailure(`${step}: no answer: ${error.message}`, { cause: error });
    },
  );
  print(`${String(response.status)} ${method.padEnd(6)} ${path.padEnd(34)} ${options.title}`);
  if (response.status !== options.status) {
    throw new DemoFailure(
      `${step}: expected ${options.status}, got ${response.status}: ${bytes.toString("utf8", 0, 500)}`,
    );
  }
  const isJson = response.headers.get("content-type")?.startsWith("application/json");
  return {
    body: isJson ? (JSON.parse(bytes.toString("utf8")) as Body) : ({} as Body),
    bytes,
    headers: response.headers,
  };
}

async function answerTo(
  url: string,
  init: RequestInit,
): Promise<{ response: Response; bytes: Buffer }> {
  const response = await fetch(url, { ...init, signal: AbortSignal.timeout(TIMEOUT) });
  return { response, bytes: Buffer.from(await response.arrayBuffer()) };
}
