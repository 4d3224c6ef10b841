import type { Limits } from "./limits.ts";

/** A document, whose `size` bytes come through the standard input. */
export interface Order {
  size: number;
  limits: Limits;
}

/** One page's text. Confidence is from 0 to 1. */
export interface Page {
  text: string;
  confidence: number;
}

export interface Extracted {
  text: string;
  pageCount: number;
  wordCount: number;
  confidence: number;
  language: "ar" | "en" | "und";
}

/** What the engine process says: once that it is ready, then of each document. */
export type Report =
  | { kind: "ready" }
  | { kind: "page"; done: number; total: number }
  | { kind: "done"; extracted: Extracted }
  | { kind: "unreadable"; message: string };
