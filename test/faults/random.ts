/** Numbers that a seed decides (mulberry32, public domain). */
export interface Random {
  /** From 0 up to 1. */
  next(): number;
  /** An integer from `low` to `high`, both included. */
  between(low: number, high: number): number;
  pick<Item>(items: readonly Item[]): Item;
  bytes(length: number): Buffer;
}

export function seeded(seed: number): Random {
  let state = seed >>> 0;
  const integer = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  const next = () => integer() / 2 ** 32;
  const between = (low: number, high: number) => low + Math.floor(next() * (high - low + 1));
  return {
    next,
    between,
    pick: (items) => items[between(0, items.length - 1)] as (typeof items)[number],
    bytes(length) {
      const buffer = Buffer.alloc(length);
      for (let at = 0; at + 4 <= length; at += 4) buffer.writeUInt32LE(integer(), at);
      for (let at = length - (length % 4); at < length; at++) buffer[at] = integer() & 0xff;
      return buffer;
    },
  };
}

/** The seed of this run: `FAULTS_SEED`, else a new one. Who takes it prints it. */
export function seedOfRun(): number {
  const given = process.env.FAULTS_SEED;
  return given === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given);
}
