/** How long an answer may take, in milliseconds. */
const TIMEOUT = 60_000;

export interface Sample {
  name: string;
  bytes: Buffer;
  folder: string;
}

/** What a request is for; or what its answer says. */
type Title = string | ((body: Body) => string);

interface Call {
  token?: string;
  json?: unknown;
  form?: Record<string, string>;
  file?: Sample;
  range?: string;
  prefer?: string;
}

/** The fields of the answers that are looked at. */
export interface Body {
  access_token: string;
  refresh_token: string;
  user_id: number;
  doc_id: number;
  id: number;
  total: number;
  status: string;
  error_message: string | null;
  pages_done: number | null;
  pages_total: number | null;
  extracted_text: string;
  items: { filename: string; snippet: { text: string; marks: [number, number][] } }[];
}

export const print = (line: string) => process.stdout.write(`${line}\n`);

/** Sends one request after the other to `url`. Throws when a status is wrong or no answer comes. */
export function clientOf(url: string) {
  return async (title: Title, status: number, method: string, path: string, call: Call = {}) => {
    const headers = {
      ...(call.token ? { Authorization: `Bearer ${call.token}` } : {}),
      ...(call.json ? { "Content-Type": "application/json" } : {}),
      ...(call.range ? { Range: call.range } : {}),
      ...(call.prefer ? { Prefer: call.prefer } : {}),
    };
    let payload: RequestInit["body"] = null;
    if (call.json) payload = JSON.stringify(call.json);
    if (call.form) payload = new URLSearchParams(call.form);
    if (call.file) {
      payload = new FormData();
      payload.append("full_path", call.file.folder);
      payload.append("file", new Blob([new Uint8Array(call.file.bytes)]), call.file.name);
    }
    const signal = AbortSignal.timeout(TIMEOUT);
    try {
      const response = await fetch(url + path, { method, headers, body: payload, signal });
      const bytes = Buffer.from(await response.arrayBuffer());
      if (response.status !== status) {
        throw new Error(`expected ${status}, got ${response.status}: ${bytes.subarray(0, 500)}`);
      }
      const isJson = response.headers.get("content-type")?.startsWith("application/json");
      const body = (isJson ? JSON.parse(bytes.toString("utf8")) : {}) as Body;
      const said = typeof title === "string" ? title : title(body);
      print(
        `${response.status} ${method.padEnd(6)} ${decodeURIComponent(path).padEnd(34)} ${said}`,
      );
      return { body, bytes, headers: response.headers };
    } catch (error) {
      const what = typeof title === "string" ? ` (${title})` : "";
      throw new Error(`${method} ${path}${what}: ${(error as Error).message}`);
    }
  };
}

export type Client = ReturnType<typeof clientOf>;
