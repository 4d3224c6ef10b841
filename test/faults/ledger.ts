import { createHash } from "node:crypto";

/** Whether something happened, as far as its client was told. */
export type Outcome = "yes" | "no" | "unknown";

export interface Upload {
  filename: string;
  size: number;
  sha256: string;
  userId: number;
  stored: Outcome;
  /** What a 201 said. */
  docId: number | undefined;
  url: string | undefined;
  deleted: Outcome;
}

/** A path and those below it, which a rename moves together. */
export interface Tree {
  /** From the top down, with what each adds to the top's name. */
  paths: { id: number; suffix: string }[];
  /** The names that the top may have: one, or two after a rename without an answer. */
  names: Set<string>;
}

export interface Account {
  email: string;
  registered: Outcome;
  /** What the password may be: one, or two after a change without an answer. */
  passwords: Set<string>;
  /** Whether a change was ever asked for. */
  hasChanged: boolean;
}

/** What clients asked for and were told; all that the checker knows of what should be there. */
export class Ledger {
  /** By file name: each is used once. */
  readonly uploads = new Map<string, Upload>();
  readonly trees: Tree[] = [];
  readonly accounts: Account[] = [];
  /** What a client itself saw go wrong, one line each. */
  readonly complaints = new Set<string>();
  #count = 0;

  /** Notes an upload before its first byte is sent. */
  begin(filename: string, data: Buffer, userId: number): Upload {
    const upload: Upload = {
      filename,
      size: data.length,
      sha256: createHash("sha256").update(data).digest("hex"),
      userId,
      stored: "unknown",
      docId: undefined,
      url: undefined,
      deleted: "no",
    };
    this.uploads.set(filename, upload);
    return upload;
  }

  /** A name that no other upload has, in one of several scripts. */
  newName(): string {
    this.#count += 1;
    const stem = ["report", "تقرير", "résumé final", "文書"][this.#count % 4];
    return `${stem} ${this.#count}.bin`;
  }

  complain(line: string): void {
    this.complaints.add(line);
  }

  /** Documents that were stored for sure and that nobody has begun to delete. */
  present(userId?: number): Upload[] {
    return [...this.uploads.values()].filter(
      (upload) =>
        upload.stored === "yes" &&
        upload.deleted === "no" &&
        (userId === undefined || upload.userId === userId),
    );
  }
}
