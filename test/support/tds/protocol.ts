/**
 * As much of TDS 7.4 as the driver speaks to a server, from the server's side (MS-TDS, https://learn.microsoft.com/en-us/openspecs/
 * windows_protocols/ms-tds/): packets, login, `sp_executesql`, transactions, the four parameter types that the server binds.
 */
export const PACKET = {
  batch: 0x01,
  rpc: 0x03,
  reply: 0x04,
  attention: 0x06,
  transaction: 0x0e,
  login: 0x10,
  prelogin: 0x12,
};
const PACKET_SIZE = 4096;
const HEADER = 8;

export type Cell = string | number | boolean | Date | null;
export type ColumnType = "bigint" | "bit" | "datetime2" | "float" | "nvarchar";

export interface ResultSet {
  columns: { name: string; type: ColumnType }[];
  rows: Cell[][];
}

/** Splits a message into packets. */
export function packets(message: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at === 0 || at < message.length; at += PACKET_SIZE - HEADER) {
    const data = message.subarray(at, at + PACKET_SIZE - HEADER);
    const header = Buffer.alloc(HEADER);
    header[0] = PACKET.reply;
    header[1] = at + PACKET_SIZE - HEADER >= message.length ? 1 : 0;
    header.writeUInt16BE(HEADER + data.length, 2);
    parts.push(header, data);
  }
  return Buffer.concat(parts);
}

/** Collects packets and calls `onMessage` for each complete message. */
export function messageReader(
  onMessage: (type: number, data: Buffer) => void,
): (chunk: Buffer) => void {
  let pending = Buffer.alloc(0);
  let parts: Buffer[] = [];
  return (chunk) => {
    pending = Buffer.concat([pending, chunk]);
    while (pending.length >= HEADER && pending.length >= pending.readUInt16BE(2)) {
      const length = pending.readUInt16BE(2);
      const [type = 0, status = 0] = pending;
      parts.push(pending.subarray(HEADER, length));
      pending = pending.subarray(length);
      if ((status & 1) === 0) continue;
      const data = Buffer.concat(parts);
      parts = [];
      onMessage(type, data);
    }
  };
}

/** The answer to PRELOGIN: version 16, and encryption "on" or "not supported". */
export function preloginReply(encrypt = false): Buffer {
  return Buffer.from([0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xff, 16, 0, 0, 0, 0, 0, encrypt ? 1 : 2]);
}

/** User, password and database of a LOGIN7 message; the password is merely scrambled there. */
export function readLogin(data: Buffer): { user: string; password: string; database: string } {
  const field = (at: number) => {
    const start = data.readUInt16LE(at);
    return Buffer.from(data.subarray(start, start + data.readUInt16LE(at + 2) * 2));
  };
  const scrambled = field(44).map((byte) => {
    const plain = byte ^ 0xa5;
    return ((plain & 0x0f) << 4) | (plain >> 4);
  });
  return {
    user: field(40).toString("utf16le"),
    password: Buffer.from(scrambled).toString("utf16le"),
    database: field(68).toString("utf16le"),
  };
}

export function loginReply(): Buffer {
  const name = shortText("Stand-in");
  const body = Buffer.concat([Buffer.from([1, 0x74, 0, 0, 4]), name, Buffer.from([16, 0, 0, 0])]);
  return Buffer.concat([Buffer.from([0xad]), uint16(body.length), body, done(0xfd, 0)]);
}

export function done(token: 0xfd | 0xfe | 0xff, status: number, rows = 0): Buffer {
  const data = Buffer.alloc(13);
  data[0] = token;
  data.writeUInt16LE(status, 1);
  data.writeBigUInt64LE(BigInt(rows), 5);
  return data;
}

export function errorToken(number: number, severity = 14): Buffer {
  const message = `Error ${number}`;
  const head = Buffer.alloc(6);
  head.writeInt32LE(number, 0);
  head[4] = 1;
  head[5] = severity;
  const body = Buffer.concat([
    head,
    uint16(message.length),
    Buffer.from(message, "utf16le"),
    shortText("stand-in"),
    shortText(""),
    Buffer.alloc(4),
  ]);
  return Buffer.concat([Buffer.from([0xaa]), uint16(body.length), body]);
}

/** ENVCHANGE of a transaction: 8 begun, 9 committed, 10 rolled back. */
export function transactionToken(kind: 8 | 9 | 10): Buffer {
  const descriptor = Buffer.from([8, 1, 2, 3, 4, 5, 6, 7, 8]);
  const body =
    kind === 8
      ? [Buffer.from([kind]), descriptor, Buffer.from([0])]
      : [Buffer.from([kind, 0]), descriptor];
  const data = Buffer.concat(body);
  return Buffer.concat([Buffer.from([0xe3]), uint16(data.length), data]);
}

/** The tokens that `sp_executesql` answers with. */
export function resultTokens(result: ResultSet | undefined, rowsAffected: number): Buffer {
  const parts: Buffer[] = [];
  if (result) {
    parts.push(Buffer.from([0x81]), uint16(result.columns.length));
    for (const { name, type } of result.columns) {
      parts.push(Buffer.from([0, 0, 0, 0, 9, 0]), TYPE_INFO[type], shortText(name));
    }
    for (const row of result.rows) {
      parts.push(
        Buffer.from([0xd1]),
        ...row.map((cell, i) => cellBytes(result.columns[i]?.type, cell)),
      );
    }
  }
  parts.push(done(0xff, 0x10, result ? result.rows.length : rowsAffected));
  parts.push(Buffer.from([0x79, 0, 0, 0, 0]), done(0xfe, 0));
  return Buffer.concat(parts);
}

const TYPE_INFO: Record<ColumnType, Buffer> = {
  bigint: Buffer.from([0x26, 8]),
  bit: Buffer.from([0x68, 1]),
  datetime2: Buffer.from([0x2a, 3]),
  float: Buffer.from([0x6d, 8]),
  nvarchar: Buffer.from([0xe7, 0xff, 0xff, 9, 4, 0xd0, 0, 0x34]),
};
const DAY = 86_400_000;
const YEAR_ONE = Date.parse("0001-01-01T00:00:00Z");

function cellBytes(type: ColumnType | undefined, cell: Cell): Buffer {
  if (type === "nvarchar") {
    if (cell === null) return Buffer.alloc(8, 0xff);
    const text = Buffer.from(String(cell), "utf16le");
    const length = Buffer.alloc(12);
    length.writeBigUInt64LE(BigInt(text.length), 0);
    length.writeUInt32LE(text.length, 8);
    return text.length === 0
      ? Buffer.concat([length.subarray(0, 8), Buffer.alloc(4)])
      : Buffer.concat([length, text, Buffer.alloc(4)]);
  }
  if (cell === null) return Buffer.from([0]);
  if (type === "bit") return Buffer.from([1, cell ? 1 : 0]);
  const data = Buffer.alloc(9);
  if (type === "bigint") {
    data[0] = 8;
    data.writeBigInt64LE(BigInt(cell as number), 1);
    return data;
  }
  if (type === "float") {
    data[0] = 8;
    data.writeDoubleLE(cell as number, 1);
    return data;
  }
  const time = (cell as Date).getTime() - YEAR_ONE;
  data[0] = 7;
  data.writeUInt32LE(time % DAY, 1);
  data.writeUIntLE(Math.floor(time / DAY), 5, 3);
  return data.subarray(0, 8);
}

export interface Call {
  text: string;
  params: Record<string, { type: ColumnType; cell: Cell }>;
}

/** Statement and parameters of a call of `sp_executesql`. */
export function readCall(data: Buffer): Call {
  const reader = new Reader(data, data.readUInt32LE(0));
  if (reader.uint16() !== 0xffff || reader.uint16() !== 10) throw new Error("Not sp_executesql");
  reader.uint16();
  const all: [string, Call["params"][string]][] = [];
  while (!reader.atEnd()) all.push([reader.shortText(), reader.parameter()]);
  const [statement, , ...params] = all;
  return {
    text: String(statement?.[1].cell),
    params: Object.fromEntries(params.map(([name, value]) => [name.slice(1), value])),
  };
}

class Reader {
  private at: number;
  private readonly data: Buffer;

  constructor(data: Buffer, at: number) {
    this.data = data;
    this.at = at;
  }

  atEnd(): boolean {
    return this.at >= this.data.length;
  }

  bytes(length: number): Buffer {
    this.at += length;
    return this.data.subarray(this.at - length, this.at);
  }

  uint8(): number {
    return this.bytes(1).readUInt8();
  }

  uint16(): number {
    return this.bytes(2).readUInt16LE();
  }

  shortText(): string {
    return this.bytes(this.uint8() * 2).toString("utf16le");
  }

  parameter(): Call["params"][string] {
    this.uint8();
    const type = this.uint8();
    if (type === 0xe7) {
      const max = this.uint16();
      this.bytes(5);
      return { type: "nvarchar", cell: max === 0xffff ? this.longText() : this.text() };
    }
    this.uint8();
    const value = this.bytes(this.uint8());
    const missing = value.length === 0;
    if (type === 0x26)
      return { type: "bigint", cell: missing ? null : Number(value.readBigInt64LE()) };
    if (type === 0x68) return { type: "bit", cell: missing ? null : value[0] === 1 };
    if (type !== 0x2a) throw new Error(`Parameter of type ${type}`);
    const time = value.readUInt32LE(0) + value.readUIntLE(4, 3) * DAY + YEAR_ONE;
    return { type: "datetime2", cell: new Date(time) };
  }

  private text(): string | null {
    const length = this.uint16();
    return length === 0xffff ? null : this.bytes(length).toString("utf16le");
  }

  private longText(): string | null {
    if (this.bytes(8).readBigUInt64LE() === 0xffff_ffff_ffff_ffffn) return null;
    const chunks: Buffer[] = [];
    for (;;) {
      const length = this.bytes(4).readUInt32LE();
      if (length === 0) return Buffer.concat(chunks).toString("utf16le");
      chunks.push(this.bytes(length));
    }
  }
}

function uint16(value: number): Buffer {
  const data = Buffer.alloc(2);
  data.writeUInt16LE(value);
  return data;
}

function shortText(text: string): Buffer {
  return Buffer.concat([Buffer.from([text.length]), Buffer.from(text, "utf16le")]);
}
