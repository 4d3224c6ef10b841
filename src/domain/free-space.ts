import { AppError } from "../errors.ts";

/** A part; one that is on a disk of this machine tells how many bytes are free there. */
interface Part {
  freeBytes?(): Promise<number | undefined>;
}

export type FreeSpace = ReturnType<typeof createFreeSpace>;

/** Keeps `floor` bytes free on the disks of this machine; 0 asks for nothing. */
export function createFreeSpace(floor: number) {
  /** Throws 507 when `bytes` more would leave less than the floor. */
  async function require(part: Part, bytes = 0): Promise<void> {
    // A disk that can't be asked is judged by what is written to it.
    const free = floor > 0 ? await part.freeBytes?.().catch(() => undefined) : undefined;
    if (free === undefined || free - bytes >= floor) return;
    const cause = new Error(`${free} bytes are free, of which ${floor} are kept`);
    throw new AppError("insufficient_storage", "Not enough space to store the file", { cause });
  }

  return {
    require,
    /** A part whose `ping` fails also below the floor. */
    checked: (part: Part & { ping(): Promise<void> }) => ({
      ping: () => part.ping().then(() => require(part)),
    }),
  };
}
