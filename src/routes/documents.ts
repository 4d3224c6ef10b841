import * as v from "valibot";
import type { Database, Window } from "../data/database.ts";
import { type DocumentFilter, listDocuments } from "../data/documents.ts";
import {
  findOcrResult,
  listStages,
  type OcrResult,
  PROCESSING_STATUSES,
} from "../data/processing.ts";
import type { Caller } from "../domain/authority.ts";
import type { Documents } from "../domain/documents.ts";
import { ROOT, virtualPath } from "../domain/paths.ts";
import { description, fields, text } from "../domain/text.ts";
import type { Uploads } from "../domain/uploads.ts";
import { readQuery } from "../http/body.ts";
import { readMultipart } from "../http/multipart.ts";
import { created, json } from "../http/replies.ts";
import type { Request } from "../http/request.ts";
import { validate } from "../http/validate.ts";
import { listItem, stageFields } from "./document-fields.ts";
import { download } from "./downloads.ts";
import { docIdOf, flag, forced, id, listReply, paging } from "./inputs.ts";

const mineQuery = v.object({
  ...paging(100),
  status: v.optional(v.picklist(PROCESSING_STATUSES)),
  path: v.optional(virtualPath),
  recursive: v.optional(flag, "false"),
  q: v.optional(v.pipe(text, v.normalize("NFC"), v.maxLength(255))),
});
const listQuery = v.object({ ...mineQuery.entries, user_id: v.optional(id) });
const uploadFields = fields({
  description: v.optional(description, null),
  full_path: v.optional(virtualPath, ROOT),
});
const fieldsBeforeFile = v.object({ full_path: v.optional(virtualPath) });

function metrics(result: OcrResult | undefined) {
  if (!result) return { ocr: null, classification: null };
  const {
    category,
    classification_confidence: confidence,
    cost_usd_classification: cost_usd,
    cost_usd_ocr,
    ...ocr
  } = result;
  return {
    ocr: { ...ocr, cost_usd: cost_usd_ocr },
    classification: category === null ? null : { category, confidence, cost_usd },
  };
}

interface Parts {
  database: Database;
  documents: Documents;
  uploads: Uploads;
  maxUploadBytes: number;
}

export function createDocumentRoutes({ database, documents, uploads, maxUploadBytes }: Parts) {
  async function page({ skip, limit, ...filter }: DocumentFilter & Window) {
    return json(listReply(await listDocuments(database, filter, { skip, limit }), listItem));
  }

  return {
    async upload(request: Request, caller: Caller) {
      const { fields: meta, file } = await readMultipart(request, {
        fileField: "file",
        textFields: ["description", "full_path"],
        maxFileBytes: maxUploadBytes,
        tooLarge: `File too large, max limit is ${maxUploadBytes / 1024 ** 2} MB`,
        admit: uploads.admit,
        onFile: (part, before) =>
          uploads.receive(part, validate(fieldsBeforeFile, before, "body").full_path),
        parseFields: (all) => validate(uploadFields, all, "body"),
      });
      const { docId: doc_id, path: full_path } = await uploads.finish(caller, file, meta);
      return created(`/api/v1/docs/${doc_id}`, {
        doc_id,
        filename: file.filename,
        path: file.url,
        ctype: file.contentType,
        size: file.size,
        sha256: file.sha256,
        status: "Queued",
        metadata: { description: meta.description, full_path },
      });
    },

    list(request: Request) {
      const { user_id: userId, ...query } = readQuery(request, listQuery);
      return page({ ...query, userId });
    },

    mine: (request: Request, { userId }: Caller) =>
      page({ ...readQuery(request, mineQuery), userId }),

    async detail(request: Request, { user }: Caller) {
      const docId = docIdOf(request);
      const document = await documents.get(user, docId);
      const stages = await listStages(database, docId);
      return json({
        ...listItem(document),
        sha256: document.sha256,
        description: document.description,
        stages: stages.map((stage) => stageFields(stage.stageName, stage)),
        ...metrics(await findOcrResult(database, docId)),
      });
    },

    download: (request: Request, caller: Caller) => download(documents, request, caller),

    async remove(request: Request, caller: Caller) {
      const doc_id = docIdOf(request);
      await documents.remove(caller, doc_id, readQuery(request, forced));
      return json({ doc_id, message: "Document deleted successfully." });
    },
  };
}
