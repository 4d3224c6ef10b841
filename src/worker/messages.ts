import type { Limits } from "./limits.ts";

/** A document, whose `size` bytes come through the standard input. */
export interface Order {
  size: number;
  limits: Limits;
}

/** What a document says. `seconds` is the time from its last byte's arrival to its text. */
export interface Extraction {
  text: string;
  pageCount: number;
  wordCount: number;
  /** From 0 to 1: the mean of the pages, weighted by their words. */
  confidence: number;
  language: "ar" | "en" | "und";
  seconds: number;
}

/** How a document ends. */
export type Answer =
  | { kind: "done"; extraction: Extraction }
  | { kind: "unreadable"; message: string };

/** What the engine process says: once that it is ready, then of each document. */
export type Report = { kind: "ready" } | { kind: "page"; done: number; total: number } | Answer;
