/** What OCR made of one document, as the workers write it into `ocr_results`. */
export interface ExtractedText {
  doc_id: number;
  filename: string;
  file_type: string;
  blob_path: string;
  extracted_text: string;
  ocr: {
    page_count: number;
    word_count: number;
    avg_confidence: number;
    primary_language: string;
    elapsed_seconds: number;
  };
  classification: { category: string; confidence: number } | null;
  processed_at: Date;
}

/** One text a document. Unreachable: the `unavailable` AppError. */
export interface ContentStore {
  /** For the `ready` line, without secrets. */
  readonly description: string;
  /** Returns within seconds whatever answers; it keeps trying by itself. */
  connect(): Promise<void>;
  /** Writes or replaces a text; returns its id there, 36 characters at most. */
  put(text: ExtractedText): Promise<string>;
  get(docId: number): Promise<ExtractedText | undefined>;
  /** Deleting what is not there is fine. */
  delete(docId: number): Promise<void>;
  /** One round trip; throws when the store does not answer. */
  ping(): Promise<void>;
  close(): Promise<void>;
}
