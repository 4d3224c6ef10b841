import * as v from "valibot";
import type { ContentStore } from "../content/content-store.ts";
import { parseSearch } from "../content/search-terms.ts";
import type { Database, Window } from "../data/database.ts";
import { listDocumentsByIds } from "../data/documents.ts";
import type { User } from "../data/users.ts";
import { ADMIN_ROLE } from "./authority.ts";
import { isVisible } from "./documents.ts";
import { text } from "./text.ts";

/** What somebody looks for, as terms. */
export const searchText = v.pipe(
  text,
  v.maxCodePoints(200),
  v.transform(parseSearch),
  v.check((terms) => terms.length > 0, "Must have a letter or a digit"),
);

type SearchTerms = v.InferOutput<typeof searchText>;

export type Search = ReturnType<typeof createSearch>;

/**
 * Finds documents by their text and name, best first: the user's own, or an admin all. `total` is
 * a lower bound unless `isExact`. 501 where the text store can't search, 503 while it is away.
 */
export function createSearch({ database, content }: { database: Database; content: ContentStore }) {
  return async (user: User, terms: SearchTerms, window: Window) => {
    const ownerId = user.roleId === ADMIN_ROLE ? undefined : user.userId;
    const { total, isExact, hits } = await content.search(terms, ownerId, window);
    const ids = hits.map(({ docId }) => docId);
    const documents = await listDocumentsByIds(database, ids);
    const byId = new Map(documents.map((document) => [document.docId, document]));
    const items = hits.flatMap(({ docId, ...hit }) => {
      const document = byId.get(docId);
      return document && isVisible(user, document) ? [{ document, ...hit }] : [];
    });
    // A text may outlive its document for a while.
    return { total: total - (hits.length - items.length), isExact, items };
  };
}
