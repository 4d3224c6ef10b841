import * as v from "valibot";
import type { Caller } from "../domain/authority.ts";
import type { Documents } from "../domain/documents.ts";
import type { Reprocess } from "../domain/reprocessing.ts";
import { type Search, searchText } from "../domain/search.ts";
import type { StatusWatch } from "../domain/status-watch.ts";
import { readQuery } from "../http/body.ts";
import { preferredWait } from "../http/prefer.ts";
import { json } from "../http/replies.ts";
import type { Request } from "../http/request.ts";
import { listItem, statusFields, textFields } from "./document-fields.ts";
import { docIdOf, forced, paging } from "./inputs.ts";

/** Seconds. */
const LONGEST_WAIT = 30;

const searchQuery = v.object({ ...paging(100), q: searchText });

interface Parts {
  documents: Documents;
  watch: StatusWatch;
  reprocess: Reprocess;
  search: Search;
}

/** How far documents are, their texts, and what finds them. */
export function createProcessingRoutes({ documents, watch, reprocess, search }: Parts) {
  return {
    async status(request: Request, caller: Caller) {
      const document = await documents.get(caller.user, docIdOf(request));
      const wait = preferredWait(request.headers, LONGEST_WAIT);
      if (wait === undefined || request.method === "HEAD") return json(statusFields(document));
      const next = await watch.next(caller, document, wait, request.signal);
      return json(statusFields(next), 200, { "Preference-Applied": `wait=${wait}` });
    },

    async reprocess(request: Request, caller: Caller) {
      const { force } = readQuery(request, forced);
      return json(statusFields(await reprocess(caller, docIdOf(request), force)), 202);
    },

    async content(request: Request, { user }: Caller) {
      const { document, text } = await documents.text(user, docIdOf(request));
      return json(textFields(document, text));
    },

    async search(request: Request, { user }: Caller) {
      const { q, ...window } = readQuery(request, searchQuery);
      const { total, isExact, items } = await search(user, q, window);
      return json({
        total,
        ...(!isExact && { total_is_exact: false }),
        items: items.map(({ document, ...hit }) => ({ ...listItem(document), ...hit })),
      });
    },
  };
}
