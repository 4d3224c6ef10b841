// Generated from openapi.yaml: `node --import tsx test/openapi/generate-client-types.ts`.
// biome-ignore-all format: generated
// biome-ignore-all lint: generated
// biome-ignore-all assist: generated
export interface paths {
    "/": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Liveness
         * @description The process answers. Touches no database, storage or broker.
         */
        get: operations["isAlive"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/ready": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Readiness
         * @description Asks database, storage, broker and content store, two seconds at most. Not ready either while the server stops.
         */
        get: operations["isReady"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/auth/register": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Open an account
         * @description The account is not active until an administrator activates it. It has no role, and needs none to upload and read. Without a `username` one is made from the address: `john@example.com` becomes `john_example`, with a number appended if that is taken.
         */
        post: operations["register"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/auth/login": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Open a session
         * @description The password flow of OAuth 2.0 (RFC 6749, section 4.3). `username` holds the e-mail address.
         */
        post: operations["login"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/auth/refresh": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Get a new access token
         * @description Takes the refresh token, not the access token, as `Authorization: Bearer`. The answer has a new refresh token as well.
         *
         *     The new refresh token stays the same until it is used. A client may go on with its first one until the session ends. A
         *     client that uses the new one is protected from theft: the one before is answered for ten seconds more, then it ends the
         *     session, whoever sends it, as any older one does at once. Tabs that use new ones share the newest.
         */
        post: operations["refresh"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/auth/logout": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * End the session
         * @description The session's access and refresh tokens stop working at once. Other sessions of the account go on.
         */
        post: operations["logout"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/auth/password-reset": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Set a new password with a reset token
         * @description The token comes from an administrator (`POST /api/v1/users/{user_id}/password-reset`) and works once. All sessions of the account end.
         */
        post: operations["resetPassword"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/users": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List all accounts
         * @description Oldest first.
         */
        get: operations["listUsers"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/users/pending": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the accounts that wait
         * @description Accounts that are not active, oldest first.
         */
        get: operations["listPendingUsers"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/users/me": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read one's own account
         * @description Works for accounts that are not active yet, too.
         */
        get: operations["getMe"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        /**
         * Change one's own name
         * @description Only the fields that are given change. A value that the account has already is never an error, also where an old one breaks the rules of today.
         */
        patch: operations["updateMe"];
        trace?: never;
    };
    "/api/v1/users/me/password": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Change one's own password
         * @description Every other session of the account ends.
         */
        post: operations["changePassword"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/users/{user_id}": {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The user's id.
                 * @example 2
                 */
                user_id: components["parameters"]["user_id"];
            };
            cookie?: never;
        };
        /** Read an account */
        get: operations["getUser"];
        put?: never;
        post?: never;
        /**
         * Delete an account
         * @description The audit trail of what the user did stays.
         */
        delete: operations["deleteUser"];
        options?: never;
        head?: never;
        /**
         * Change an account
         * @description Only the fields that are given change; `role_id: null` takes the role away. A value that the account has already is never an error, also where an old one breaks the rules of today. Deactivating an account ends its sessions. The last active administrator can be neither demoted nor deactivated.
         */
        patch: operations["updateUser"];
        trace?: never;
    };
    "/api/v1/users/{user_id}/activate": {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The user's id.
                 * @example 2
                 */
                user_id: components["parameters"]["user_id"];
            };
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        /**
         * Activate an account
         * @description Takes no body. Activating twice is fine.
         */
        patch: operations["activateUser"];
        trace?: never;
    };
    "/api/v1/users/{user_id}/password-reset": {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The user's id.
                 * @example 2
                 */
                user_id: components["parameters"]["user_id"];
            };
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Issue a reset token
         * @description For somebody who forgot their password: hand them the token, which works once, for an hour, at `POST /api/v1/auth/password-reset`. It is shown only here. A token that was issued before is dead.
         */
        post: operations["issuePasswordReset"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/roles": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the roles
         * @description What `role_id` can be.
         */
        get: operations["listRoles"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/docs/upload": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Upload a document
         * @description Stores the file, records it and queues it for OCR. The name is the last segment of what the client sent, at most 255
         *     characters of any script. Send `full_path` before `file`: then a path that does not exist or a name that is taken is told
         *     before the bytes have to travel. An upload that fails leaves nothing behind.
         */
        post: operations["uploadDocument"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/docs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the documents of all users
         * @description Newest first.
         */
        get: operations["listDocuments"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/docs/me": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List one's own documents
         * @description Newest first.
         */
        get: operations["listMyDocuments"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/docs/search": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Find documents by their text and name
         * @description Best first: one's own, or an administrator everybody's. Every word must be there, in the text or in the file name; words in
         *     `"double quotes"` in a row; a word that ends with `*` may go on. Case, accents, Arabic vowel marks and the forms of a letter
         *     make no difference. A document is found once it has a text.
         */
        get: operations["searchDocuments"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/docs/{doc_id}": {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The document's id.
                 * @example 1
                 */
                doc_id: components["parameters"]["doc_id"];
            };
            cookie?: never;
        };
        /**
         * Read all about a document
         * @description One's own; an administrator, any.
         */
        get: operations["getDocument"];
        put?: never;
        post?: never;
        /**
         * Delete a document
         * @description Its record goes at once. If its file or its text can't be reached, the answer is the same, and they are removed later.
         */
        delete: operations["deleteDocument"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/docs/{doc_id}/status": {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The document's id.
                 * @example 1
                 */
                doc_id: components["parameters"]["doc_id"];
            };
            cookie?: never;
        };
        /**
         * See how far a document is
         * @description One's own; an administrator, any. With `Prefer: wait=10` the answer comes when the status or the page numbers change, and after ten seconds at the latest; at once when the document is `Finished` or `Failed`.
         */
        get: operations["getDocumentStatus"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/docs/{doc_id}/content": {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The document's id.
                 * @example 1
                 */
                doc_id: components["parameters"]["doc_id"];
            };
            cookie?: never;
        };
        /**
         * Read the text of a document
         * @description What OCR made of it. One's own; an administrator, any. While a document is processed again it is the text of the time before.
         */
        get: operations["getDocumentContent"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/docs/{doc_id}/reprocess": {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The document's id.
                 * @example 1
                 */
                doc_id: components["parameters"]["doc_id"];
            };
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Queue a document for OCR again
         * @description One's own; an administrator, any. Its text stays until there is a new one.
         */
        post: operations["reprocessDocument"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/docs/{doc_id}/download": {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The document's id.
                 * @example 1
                 */
                doc_id: components["parameters"]["doc_id"];
            };
            cookie?: never;
        };
        /**
         * Download the original file
         * @description The bytes as they were uploaded. One's own document; an administrator, any. A single byte range works, and so do `If-None-Match` and `If-Range` with the `ETag`.
         */
        get: operations["downloadDocument"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/paths": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the virtual paths
         * @description Ordered by `full_path`.
         */
        get: operations["listPaths"];
        put?: never;
        /**
         * Make a virtual path
         * @description Outer slashes are dropped. The paths above it need not exist.
         */
        post: operations["createPath"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/paths/{path_id}": {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The virtual path's id.
                 * @example 3
                 */
                path_id: components["parameters"]["path_id"];
            };
            cookie?: never;
        };
        /** Read a virtual path */
        get: operations["getPath"];
        put?: never;
        post?: never;
        /**
         * Delete a virtual path
         * @description Only an empty one, and never the root.
         */
        delete: operations["deletePath"];
        options?: never;
        head?: never;
        /**
         * Rename or describe a virtual path
         * @description A new `full_path` renames the path and everything below it, all or nothing. Documents stay where they are and downloadable. The root can't be renamed.
         */
        patch: operations["updatePath"];
        trace?: never;
    };
    "/docs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * This description in Swagger UI
         * @description Operations can be tried out there.
         */
        get: operations["showSwaggerUi"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/redoc": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * This description in ReDoc
         * @description To read and to print.
         */
        get: operations["showRedoc"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/openapi.json": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * This description as JSON
         * @description The same content as `/openapi.yaml`.
         */
        get: operations["getDescriptionAsJson"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/openapi.yaml": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * This description as YAML
         * @description The file `openapi.yaml` of the source.
         */
        get: operations["getDescriptionAsYaml"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/logs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read the audit trail
         * @description Newest first.
         */
        get: operations["listLogs"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        ApiError: {
            /** @description What went wrong, in words. */
            detail: string;
        };
        ValidationError: {
            detail: components["schemas"]["Issue"][];
        };
        /** @description One fault in the input. The rejected value is never repeated. */
        Issue: {
            /**
             * @description The kind of fault, for programs.
             * @example min_length
             */
            type: string;
            /** @description Where it is; first `body`, `query` or `path`, last the name of the field. */
            loc: [
                "body" | "query" | "path"
            ];
            /** @description The fault in words. */
            msg: string;
        };
        Readiness: {
            /** @enum {string} */
            status: "ready" | "unavailable" | "stopping";
            checks: {
                database: components["schemas"]["PartState"];
                storage: components["schemas"]["PartState"];
                broker: components["schemas"]["PartState"];
                content: components["schemas"]["PartState"];
            };
        };
        /** @enum {string} */
        PartState: "ok" | "unavailable";
        /** @description 6 to 60 characters after trimming, kept in Unicode's NFKC. */
        FullName: string;
        /**
         * Format: email
         * @description An ASCII address, kept in lower case.
         */
        Email: string;
        /** @description 3 to 20 letters, digits, `_`, `.` or `-` of any script, kept in Unicode's NFKC. */
        Username: string;
        /**
         * Format: date-time
         * @description RFC 3339 in UTC.
         */
        Instant: string;
        /**
         * Format: password
         * @description At least one digit and one character that is neither letter nor digit, of any script; at most 72 bytes in UTF-8.
         */
        NewPassword: string;
        Registration: {
            full_name: components["schemas"]["FullName"];
            email: components["schemas"]["Email"];
            password: components["schemas"]["NewPassword"];
            username?: components["schemas"]["Username"];
        };
        /** @description Other parameters of OAuth 2.0 may be sent and have no meaning here. */
        Login: {
            /**
             * @description The e-mail address.
             * @example salma@example.org
             */
            username: string;
            /** Format: password */
            password: string;
            /** @description `password`; may be left out. */
            grant_type?: string;
        };
        Tokens: {
            access_token: components["schemas"]["Token"];
            refresh_token: components["schemas"]["Token"];
            /** @constant */
            token_type: "bearer";
            /** @description Seconds until the access token expires. */
            expires_in: number;
        };
        /** @description A JSON Web Token (RFC 7519). */
        Token: string;
        User: {
            user_id: number;
            full_name: string;
            email: string;
            username: string;
            /** @description The role's name. */
            role: string | null;
            /** @description 99 is the administrators' role. */
            role_id: number | null;
            is_active: boolean;
            created_at: components["schemas"]["Instant"];
        };
        PasswordChange: {
            /** Format: password */
            current_password: string;
            new_password: components["schemas"]["NewPassword"];
        };
        PasswordReset: {
            reset_token: string;
            new_password: components["schemas"]["NewPassword"];
        };
        IssuedReset: {
            reset_token: string;
            expires_at: components["schemas"]["Instant"];
        };
        SelfUpdate: {
            /** @description The account's own, or one as `FullName`. */
            full_name?: string;
            /** @description The account's own, or one as `Username`. */
            username?: string;
        };
        AdminUpdate: {
            /** @description The account's own, or one as `FullName`. */
            full_name?: string;
            /** @description The account's own, or one as `Email`. */
            email?: string;
            /** @description The account's own, or one as `Username`. */
            username?: string;
            role_id?: number | null;
            is_active?: boolean;
        };
        Role: {
            role_id: number;
            role_name: string;
            description: string | null;
        };
        /** @enum {string} */
        ProcessingStatus: "Queued" | "Processing" | "Finished" | "Failed";
        Upload: {
            /**
             * @description An existing virtual path, with or without outer slashes; the root if left out or empty.
             * @default /
             * @example /
             */
            full_path: string;
            /**
             * @description What the document is.
             * @example Letter of March
             */
            description?: string;
            /**
             * Format: binary
             * @description One file with a name.
             */
            file: Blob;
        };
        UploadedDocument: {
            doc_id: number;
            filename: string;
            /** @description The storage's address of the bytes; not for downloads. */
            path: string;
            /** @description The media type that the client named. */
            ctype: string;
            /** @description Bytes. */
            size: number;
            sha256: components["schemas"]["Sha256"];
            /** @constant */
            status: "Queued";
            metadata: {
                description: string | null;
                /** @description The virtual path. */
                full_path: string;
            };
        };
        /** @description The SHA-256 of the bytes in hexadecimal. */
        Sha256: string;
        /** @description What older servers stored may lack size and media type. */
        Document: {
            doc_id: number;
            filename: string;
            /** @description The virtual path. */
            path: string;
            uploaded_by_user_id: number;
            /** @description The uploader's full name. */
            uploaded_by: string;
            uploaded_at: components["schemas"]["Instant"];
            status: components["schemas"]["ProcessingStatus"];
            /** @description Why the OCR failed. */
            error_message: string | null;
            /** @description Bytes. */
            size: number | null;
            content_type: string | null;
        };
        DocumentPage: {
            total: number;
            /**
             * @description There when `total` is a lower bound.
             * @constant
             */
            total_is_exact?: false;
            items: components["schemas"]["Document"][];
        };
        LogPage: {
            total: number;
            /**
             * @description There when `total` is a lower bound.
             * @constant
             */
            total_is_exact?: false;
            items: components["schemas"]["LogItem"][];
        };
        LogItem: {
            log_id: number;
            /** Format: date-time */
            log_timestamp: string | null;
            /** @description The kind of event. */
            action_type: string;
            /** @description Who acted; null when nobody was known or they have been deleted since. */
            user_id: number | null;
            /** @description The user, document or path that it happened to. */
            entity_id: number | null;
            /** @description Who (`actor_id`), from where (`address`), in which request, when, and what belongs to this kind of event. Rows that other programs wrote may have any text, or nothing. */
            details: Record<string, never> | string | null;
        };
        /** @description What older servers stored may lack size, media type and hash. */
        DocumentDetail: {
            doc_id: number;
            filename: string;
            /** @description The virtual path. */
            path: string;
            uploaded_by_user_id: number;
            /** @description The uploader's full name. */
            uploaded_by: string;
            uploaded_at: components["schemas"]["Instant"];
            status: components["schemas"]["ProcessingStatus"];
            /** @description Why the OCR failed. */
            error_message: string | null;
            /** @description Bytes. */
            size: number | null;
            content_type: string | null;
            sha256: string | null;
            description: string | null;
            stages: components["schemas"]["Stage"][];
            ocr: components["schemas"]["OcrMetrics"] | null;
            classification: components["schemas"]["ClassificationMetrics"] | null;
        };
        /** @description What the worker measured that processed the document last. */
        OcrMetrics: {
            page_count: number;
            word_count: number;
            avg_confidence: number;
            primary_language: string;
            cost_usd: number;
            processed_at: components["schemas"]["Instant"];
        };
        ClassificationMetrics: {
            category: string;
            confidence: number | null;
            cost_usd: number | null;
        };
        Stage: {
            stage_name: string;
            status: components["schemas"]["ProcessingStatus"];
            start_time: components["schemas"]["OptionalInstant"];
            end_time: components["schemas"]["OptionalInstant"];
            error_message: string | null;
            pages_done: components["schemas"]["Pages"];
            pages_total: components["schemas"]["Pages"];
        };
        /** @description Counted while a worker is `Processing` that tells it, else null. */
        Pages: number | null;
        /**
         * Format: date-time
         * @description RFC 3339 in UTC, or null while it is not known.
         */
        OptionalInstant: string | null;
        DocumentStatus: {
            doc_id: number;
            filename: string;
            /** @constant */
            stage_name: "OCR";
            status: components["schemas"]["ProcessingStatus"];
            start_time: components["schemas"]["OptionalInstant"];
            end_time: components["schemas"]["OptionalInstant"];
            error_message: string | null;
            pages_done: components["schemas"]["Pages"];
            pages_total: components["schemas"]["Pages"];
        };
        /** @description Workers write more or less of it; what is missing is null. */
        DocumentContent: {
            doc_id: number;
            filename: string;
            file_type: string | null;
            extracted_text: string | null;
            ocr: {
                page_count: number | null;
                word_count: number | null;
                /** @description From 0 to 1. */
                avg_confidence: number | null;
                /** @description `ar`, `en` or `und`; other workers may write others. */
                primary_language: string | null;
                elapsed_seconds: number | null;
                cost_usd: number | null;
                chunks_used: number | null;
            };
            classification: {
                category: string | null;
                confidence: number | null;
                reasoning: string | null;
                tokens_used: number | null;
                cost_usd: number | null;
                error: string | null;
            } | null;
            processed_at: components["schemas"]["OptionalInstant"];
        };
        SearchPage: {
            total: number;
            /**
             * @description There when `total` is a lower bound.
             * @constant
             */
            total_is_exact?: false;
            items: components["schemas"]["FoundDocument"][];
        };
        FoundDocument: {
            doc_id: number;
            filename: string;
            /** @description The virtual path. */
            path: string;
            uploaded_by_user_id: number;
            /** @description The uploader's full name. */
            uploaded_by: string;
            uploaded_at: components["schemas"]["Instant"];
            status: components["schemas"]["ProcessingStatus"];
            /** @description Why the OCR failed. */
            error_message: string | null;
            /** @description Bytes. */
            size: number | null;
            content_type: string | null;
            /** @description Higher is better. */
            score: number;
            /** @description A part of the text. */
            snippet: {
                text: string;
                /** @description Where the hits are in `text`, in UTF-16 code units; first and one after the last. */
                marks: number[][];
            };
        };
        DeletedDocument: {
            doc_id: number;
            message: string;
        };
        /** @description Segments joined by `/`, at most 500 characters; `/` is the root. No empty segment, `.` or `..`, no backslash and no control character. Outer slashes are dropped. */
        FullPath: string;
        PathDescription: string | null;
        NewPath: {
            full_path: components["schemas"]["FullPath"];
            description?: components["schemas"]["PathDescription"];
        };
        PathUpdate: {
            full_path?: components["schemas"]["FullPath"];
            description?: components["schemas"]["PathDescription"];
        };
        Path: {
            id: number;
            full_path: string;
            description: string | null;
            /** @description The number of segments. */
            depth: number;
            created_at: components["schemas"]["Instant"];
        };
    };
    responses: {
        /** @description No access token, or one that is malformed, expired, of an ended session, or whose user is gone. */
        Unauthorized: {
            headers: {
                "WWW-Authenticate": components["headers"]["WWW-Authenticate"];
                [name: string]: unknown;
            };
            content: {
                "application/json": components["schemas"]["ApiError"];
            };
        };
        /** @description The account is not active: it was not let in yet, or was deactivated since. A role alone does not help. */
        ActiveOnly: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/json": components["schemas"]["ApiError"];
            };
        };
        /** @description The account is not active (not let in yet, or deactivated), or not an administrator's. */
        AdminsOnly: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/json": components["schemas"]["ApiError"];
            };
        };
        /** @description The account is not active. Told only to who has its password. */
        NotActive: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "detail": "User is not active"
                 *     }
                 */
                "application/json": components["schemas"]["ApiError"];
            };
        };
        /** @description There is no such user. */
        NoSuchUser: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "detail": "User not found"
                 *     }
                 */
                "application/json": components["schemas"]["ApiError"];
            };
        };
        /** @description Another table of the platform, which this server does not know, references it. */
        Referenced: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/json": components["schemas"]["ApiError"];
            };
        };
        /** @description There is no such document, or it is somebody else's. */
        NoSuchDocument: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "detail": "Document with id 7 not found."
                 *     }
                 */
                "application/json": components["schemas"]["ApiError"];
            };
        };
        /** @description There is no such path. */
        NoSuchPath: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "detail": "Path not found."
                 *     }
                 */
                "application/json": components["schemas"]["ApiError"];
            };
        };
        /** @description The body has more than 64 KiB. */
        ContentTooLarge: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "detail": "Request body too large"
                 *     }
                 */
                "application/json": components["schemas"]["ApiError"];
            };
        };
        /** @description The body has another media type than the operation reads, another charset than UTF-8, or a content coding. */
        UnsupportedMediaType: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "detail": "The body must be application/json in UTF-8"
                 *     }
                 */
                "application/json": components["schemas"]["ApiError"];
            };
        };
        /** @description The input is not as described. Every fault is listed. */
        ValidationFailed: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/json": components["schemas"]["ValidationError"];
            };
        };
        /** @description Too many attempts from this address or on this account. */
        TooManyRequests: {
            headers: {
                "Retry-After": components["headers"]["Retry-After"];
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "detail": "Too many requests. Please try again later."
                 *     }
                 */
                "application/json": components["schemas"]["ApiError"];
            };
        };
        /** @description A fault in the server. The log has the cause under the request's id. */
        InternalError: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "detail": "Internal Server Error"
                 *     }
                 */
                "application/json": components["schemas"]["ApiError"];
            };
        };
        /** @description A part that the operation needs can't be reached, or is too busy. */
        Unavailable: {
            headers: {
                "Retry-After": components["headers"]["Retry-After"];
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "detail": "The database is not available at the moment. Please try again."
                 *     }
                 */
                "application/json": components["schemas"]["ApiError"];
            };
        };
        /**
         * @description What the HTTP layer itself refuses:
         *
         *     - 400: the request is malformed (bad percent-encoding, two `Host` or `Authorization` lines, a target that is no path, …);
         *     - 405: the resource has no such method;
         *     - 408: the request or its body stopped arriving;
         *     - 431: the header is too large;
         *     - 501: a transfer coding other than `chunked`.
         */
        Refused: {
            headers: {
                Allow: components["headers"]["Allow"];
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "detail": "Method Not Allowed"
                 *     }
                 */
                "application/json": components["schemas"]["ApiError"];
            };
        };
        /** @description The server runs with another `ENVIRONMENT` than `dev`. */
        NotInDev: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "detail": "Not Found"
                 *     }
                 */
                "application/json": components["schemas"]["ApiError"];
            };
        };
        /** @description A page for browsers. */
        Page: {
            headers: {
                "Content-Security-Policy": components["headers"]["Content-Security-Policy"];
                [name: string]: unknown;
            };
            content: {
                "text/html": string;
            };
        };
        /** @description One page of documents, and how many there are on all pages together. */
        DocumentPage: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "total": 1,
                 *       "items": [
                 *         {
                 *           "doc_id": 1,
                 *           "filename": "letter.txt",
                 *           "path": "/",
                 *           "uploaded_by_user_id": 2,
                 *           "uploaded_by": "Salma Haddad-Nasser",
                 *           "uploaded_at": "2026-02-26T14:30:00.123Z",
                 *           "status": "Queued",
                 *           "error_message": null,
                 *           "size": 17,
                 *           "content_type": "text/plain"
                 *         }
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["DocumentPage"];
            };
        };
    };
    parameters: {
        /**
         * @description The user's id.
         * @example 2
         */
        user_id: number;
        /**
         * @description The document's id.
         * @example 1
         */
        doc_id: number;
        /**
         * @description The virtual path's id.
         * @example 3
         */
        path_id: number;
        /** @description Leave out so many from the start. */
        skip: number;
        /** @description At most so many. */
        limit: number;
        /** @description Only documents in this state, for example `Queued`. */
        status: components["schemas"]["ProcessingStatus"];
        /** @description Only documents in this virtual path (for example `/`, the root), with or without outer slashes. */
        path: string;
        /** @description With `path`, also documents in the paths below it. */
        recursive: boolean;
        /** @description Only documents whose file name has this text in it (for example `letter`), whatever the case of its letters. */
        q: string;
    };
    requestBodies: never;
    headers: {
        /**
         * @description As `Cache-Control`, for old caches (RFC 6749, section 5.1).
         * @example no-cache
         */
        Pragma: "no-cache";
        /**
         * @description Where the new resource is.
         * @example /api/v1/docs/1
         */
        Location: string;
        /**
         * @description How to authenticate (RFC 6750).
         * @example Bearer
         */
        "WWW-Authenticate": "Bearer";
        /**
         * @description Try again after so many seconds.
         * @example 5
         */
        "Retry-After": number;
        /**
         * @description How many there are on all pages together.
         * @example 2
         */
        "X-Total-Count": number;
        /**
         * @description A strong entity tag, the SHA-256 of the file in quotes.
         * @example "57d5ce21a923c4f8a939ec440190b1c5aedc576b0ec2c5ebcea67cdfb9193045"
         */
        ETag: string;
        /**
         * @description Ranges of bytes may be asked for.
         * @example bytes
         */
        "Accept-Ranges": "bytes";
        /**
         * @description The file's name, in ASCII and in UTF-8 (RFC 6266).
         * @example attachment; filename="letter.txt"; filename*=UTF-8''letter.txt
         */
        "Content-Disposition": string;
        /**
         * @description A browser that shows the file all the same runs nothing in it.
         * @example sandbox
         */
        Sandbox: "sandbox";
        /**
         * @description How many bytes follow.
         * @example 17
         */
        "Content-Length": number;
        /**
         * @description Which bytes of how many; of a 416, how many there are.
         * @example bytes 0-3/17
         */
        "Content-Range": string;
        /**
         * @description The part of `Prefer` that was followed (RFC 7240, section 3).
         * @example wait=1
         */
        "Preference-Applied": string;
        /**
         * @description What the page may load and run.
         * @example default-src 'none'; script-src 'self'
         */
        "Content-Security-Policy": string;
        /**
         * @description With a 405, the methods that work here.
         * @example GET, HEAD, OPTIONS
         */
        Allow: string;
    };
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    isAlive: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Alive. */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            default: components["responses"]["Refused"];
        };
    };
    isReady: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Every part answers. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "status": "ready",
                     *       "checks": {
                     *         "database": "ok",
                     *         "storage": "ok",
                     *         "broker": "ok",
                     *         "content": "ok"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["Readiness"];
                };
            };
            500: components["responses"]["InternalError"];
            /** @description Some part does not answer, its disk is nearly full (`MIN_FREE_MB`), or the server is stopping. */
            503: {
                headers: {
                    "Retry-After": components["headers"]["Retry-After"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "status": "unavailable",
                     *       "checks": {
                     *         "database": "ok",
                     *         "storage": "ok",
                     *         "broker": "unavailable",
                     *         "content": "ok"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["Readiness"];
                };
            };
            default: components["responses"]["Refused"];
        };
    };
    register: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "full_name": "Salma Haddad",
                 *       "email": "salma@example.org",
                 *       "password": "كلمة مرور 7 طويلة"
                 *     }
                 */
                "application/json": components["schemas"]["Registration"];
            };
        };
        responses: {
            /** @description The new account. */
            201: {
                headers: {
                    Location: components["headers"]["Location"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "user_id": 2,
                     *       "full_name": "Salma Haddad",
                     *       "email": "salma@example.org",
                     *       "username": "salma_example",
                     *       "role": null,
                     *       "role_id": null,
                     *       "is_active": false,
                     *       "created_at": "2026-02-26T14:30:00.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["User"];
                };
            };
            /** @description The address or the user name belongs to somebody, whatever the case of its letters. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            413: components["responses"]["ContentTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    login: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "grant_type": "password",
                 *       "username": "salma@example.org",
                 *       "password": "كلمة مرور 7 طويلة"
                 *     }
                 */
                "application/x-www-form-urlencoded": components["schemas"]["Login"];
            };
        };
        responses: {
            /** @description The tokens of a new session. */
            200: {
                headers: {
                    Pragma: components["headers"]["Pragma"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "access_token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIyIn0.mWuHr7jGyAyRyEjUWRaodC2Ka3oYP10jKB0yBnLd3aA",
                     *       "refresh_token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIyIn0.q1mjeDSSHTEl3v0Vw1CIHhK2ZBq5U5vFkWCcPmzwSxQ",
                     *       "token_type": "bearer",
                     *       "expires_in": 60
                     *     }
                     */
                    "application/json": components["schemas"]["Tokens"];
                };
            };
            /** @description Unknown address or wrong password; which of the two is not told. */
            401: {
                headers: {
                    "WWW-Authenticate": components["headers"]["WWW-Authenticate"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "detail": "Incorrect email or password"
                     *     }
                     */
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            403: components["responses"]["NotActive"];
            413: components["responses"]["ContentTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    refresh: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description New tokens of the same session. */
            200: {
                headers: {
                    Pragma: components["headers"]["Pragma"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "access_token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIyIn0.mWuHr7jGyAyRyEjUWRaodC2Ka3oYP10jKB0yBnLd3aA",
                     *       "refresh_token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIyIn0.q1mjeDSSHTEl3v0Vw1CIHhK2ZBq5U5vFkWCcPmzwSxQ",
                     *       "token_type": "bearer",
                     *       "expires_in": 60
                     *     }
                     */
                    "application/json": components["schemas"]["Tokens"];
                };
            };
            /** @description No refresh token, a bad or expired one, one of an ended session, or one whose user is gone or not active. */
            401: {
                headers: {
                    "WWW-Authenticate": components["headers"]["WWW-Authenticate"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    logout: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The session is over. */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            401: components["responses"]["Unauthorized"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    resetPassword: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "reset_token": "3Zk0cX1rYh8uVwQnB5tLd7sJ2fMaPeGxR9yTiKoUvEs",
                 *       "new_password": "كلمة مرور 9 أخرى"
                 *     }
                 */
                "application/json": components["schemas"]["PasswordReset"];
            };
        };
        responses: {
            /** @description The new password is set. */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description The token is unknown, used, replaced or expired, or its account is gone or not active; which is not told. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "detail": "The reset token is not valid, was used or has expired."
                     *     }
                     */
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            413: components["responses"]["ContentTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    listUsers: {
        parameters: {
            query?: {
                /** @description Leave out so many from the start. */
                skip?: components["parameters"]["skip"];
                /** @description At most so many. */
                limit?: components["parameters"]["limit"];
                /** @description Only active accounts (`true`), or only those that are not (`false`). */
                is_active?: boolean;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description One page of accounts. */
            200: {
                headers: {
                    "X-Total-Count": components["headers"]["X-Total-Count"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example [
                     *       {
                     *         "user_id": 1,
                     *         "full_name": "Administrator",
                     *         "email": "admin@example.org",
                     *         "username": "admin_example",
                     *         "role": "Admin",
                     *         "role_id": 99,
                     *         "is_active": true,
                     *         "created_at": "2026-02-26T14:30:00.123Z"
                     *       },
                     *       {
                     *         "user_id": 2,
                     *         "full_name": "Salma Haddad-Nasser",
                     *         "email": "salma@example.org",
                     *         "username": "salma_example",
                     *         "role": "User",
                     *         "role_id": 1,
                     *         "is_active": true,
                     *         "created_at": "2026-02-26T14:30:00.123Z"
                     *       }
                     *     ]
                     */
                    "application/json": components["schemas"]["User"][];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["AdminsOnly"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    listPendingUsers: {
        parameters: {
            query?: {
                /** @description Leave out so many from the start. */
                skip?: components["parameters"]["skip"];
                /** @description At most so many. */
                limit?: number;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description One page of accounts. */
            200: {
                headers: {
                    "X-Total-Count": components["headers"]["X-Total-Count"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example [
                     *       {
                     *         "user_id": 2,
                     *         "full_name": "Salma Haddad",
                     *         "email": "salma@example.org",
                     *         "username": "salma_example",
                     *         "role": null,
                     *         "role_id": null,
                     *         "is_active": false,
                     *         "created_at": "2026-02-26T14:30:00.123Z"
                     *       }
                     *     ]
                     */
                    "application/json": components["schemas"]["User"][];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["AdminsOnly"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    getMe: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The caller's account. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "user_id": 2,
                     *       "full_name": "Salma Haddad",
                     *       "email": "salma@example.org",
                     *       "username": "salma_example",
                     *       "role": "User",
                     *       "role_id": 1,
                     *       "is_active": true,
                     *       "created_at": "2026-02-26T14:30:00.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["User"];
                };
            };
            401: components["responses"]["Unauthorized"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    updateMe: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "full_name": "Salma Haddad-Nasser"
                 *     }
                 */
                "application/json": components["schemas"]["SelfUpdate"];
            };
        };
        responses: {
            /** @description The account after the change. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "user_id": 2,
                     *       "full_name": "Salma Haddad-Nasser",
                     *       "email": "salma@example.org",
                     *       "username": "salma_example",
                     *       "role": "User",
                     *       "role_id": 1,
                     *       "is_active": true,
                     *       "created_at": "2026-02-26T14:30:00.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["User"];
                };
            };
            /** @description No field at all, or a user name that belongs to somebody. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ActiveOnly"];
            413: components["responses"]["ContentTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    changePassword: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "current_password": "كلمة مرور 7 طويلة",
                 *       "new_password": "كلمة مرور 8 جديدة"
                 *     }
                 */
                "application/json": components["schemas"]["PasswordChange"];
            };
        };
        responses: {
            /** @description The new password is set. */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description The current password is wrong. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "detail": "The current password is wrong."
                     *     }
                     */
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ActiveOnly"];
            413: components["responses"]["ContentTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["TooManyRequests"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    getUser: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The user's id.
                 * @example 2
                 */
                user_id: components["parameters"]["user_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The account. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "user_id": 2,
                     *       "full_name": "Salma Haddad",
                     *       "email": "salma@example.org",
                     *       "username": "salma_example",
                     *       "role": "User",
                     *       "role_id": 1,
                     *       "is_active": true,
                     *       "created_at": "2026-02-26T14:30:00.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["User"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["AdminsOnly"];
            404: components["responses"]["NoSuchUser"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    deleteUser: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The user's id.
                 * @example 2
                 */
                user_id: components["parameters"]["user_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Deleted, and all sessions with it. */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description One's own account, the last active administrator, or a user whose documents still exist. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["AdminsOnly"];
            404: components["responses"]["NoSuchUser"];
            409: components["responses"]["Referenced"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    updateUser: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The user's id.
                 * @example 2
                 */
                user_id: components["parameters"]["user_id"];
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "role_id": 1
                 *     }
                 */
                "application/json": components["schemas"]["AdminUpdate"];
            };
        };
        responses: {
            /** @description The account after the change. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "user_id": 2,
                     *       "full_name": "Salma Haddad",
                     *       "email": "salma@example.org",
                     *       "username": "salma_example",
                     *       "role": "User",
                     *       "role_id": 1,
                     *       "is_active": false,
                     *       "created_at": "2026-02-26T14:30:00.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["User"];
                };
            };
            /** @description No field at all, a name or an address that belongs to somebody, an unknown role, or the last administrator. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["AdminsOnly"];
            404: components["responses"]["NoSuchUser"];
            413: components["responses"]["ContentTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    activateUser: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The user's id.
                 * @example 2
                 */
                user_id: components["parameters"]["user_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The active account. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "user_id": 2,
                     *       "full_name": "Salma Haddad",
                     *       "email": "salma@example.org",
                     *       "username": "salma_example",
                     *       "role": "User",
                     *       "role_id": 1,
                     *       "is_active": true,
                     *       "created_at": "2026-02-26T14:30:00.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["User"];
                };
            };
            /** @description There was a body. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "detail": "Request body is not allowed for this endpoint."
                     *     }
                     */
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["AdminsOnly"];
            404: components["responses"]["NoSuchUser"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    issuePasswordReset: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The user's id.
                 * @example 2
                 */
                user_id: components["parameters"]["user_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The token. `Location` is where it is used. */
            201: {
                headers: {
                    Location: components["headers"]["Location"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "reset_token": "3Zk0cX1rYh8uVwQnB5tLd7sJ2fMaPeGxR9yTiKoUvEs",
                     *       "expires_at": "2026-02-26T15:30:00.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["IssuedReset"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["AdminsOnly"];
            404: components["responses"]["NoSuchUser"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    listRoles: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description All roles. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example [
                     *       {
                     *         "role_id": 1,
                     *         "role_name": "User",
                     *         "description": "Uploads and reads own documents"
                     *       },
                     *       {
                     *         "role_id": 99,
                     *         "role_name": "Admin",
                     *         "description": "Manages accounts, paths and every document"
                     *       }
                     *     ]
                     */
                    "application/json": components["schemas"]["Role"][];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["AdminsOnly"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    uploadDocument: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "full_path": "/",
                 *       "description": "Letter of March",
                 *       "file": "Dear colleagues,\n"
                 *     }
                 */
                "multipart/form-data": components["schemas"]["Upload"];
            };
        };
        responses: {
            /** @description The queued document. */
            201: {
                headers: {
                    Location: components["headers"]["Location"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "doc_id": 1,
                     *       "filename": "letter.txt",
                     *       "path": "file:///blobs/3f1c9d1e-4a2b-4c6d-8e9f-0a1b2c3d4e5f/letter.txt",
                     *       "ctype": "text/plain",
                     *       "size": 17,
                     *       "sha256": "57d5ce21a923c4f8a939ec440190b1c5aedc576b0ec2c5ebcea67cdfb9193045",
                     *       "status": "Queued",
                     *       "metadata": {
                     *         "description": "Letter of March",
                     *         "full_path": "/"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["UploadedDocument"];
                };
            };
            /** @description The file has no bytes. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "detail": "Uploaded file is empty"
                     *     }
                     */
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ActiveOnly"];
            /** @description The path does not exist. */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "detail": "Provided path doesn't exist."
                     *     }
                     */
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            /** @description There is a document of this name in this path. */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "detail": "A document with this filename already exists at the specified path."
                     *     }
                     */
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            /** @description The file is larger than the configured limit (`MAX_UPLOAD_SIZE_MB`, 50 unless set). */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "detail": "File too large, max limit is 50 MB"
                     *     }
                     */
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            /** @description The storage did not take the file, or a fault in the server. The log has the cause. */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "detail": "Storage upload failed"
                     *     }
                     */
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            503: components["responses"]["Unavailable"];
            /** @description The disk has no room for the file (`MIN_FREE_MB`). Told before the body is read. */
            507: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "detail": "Not enough space to store the file"
                     *     }
                     */
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            default: components["responses"]["Refused"];
        };
    };
    listDocuments: {
        parameters: {
            query?: {
                /** @description Leave out so many from the start. */
                skip?: components["parameters"]["skip"];
                /** @description At most so many. */
                limit?: components["parameters"]["limit"];
                /** @description Only documents in this state, for example `Queued`. */
                status?: components["parameters"]["status"];
                /** @description Only documents in this virtual path (for example `/`, the root), with or without outer slashes. */
                path?: components["parameters"]["path"];
                /** @description With `path`, also documents in the paths below it. */
                recursive?: components["parameters"]["recursive"];
                /** @description Only documents whose file name has this text in it (for example `letter`), whatever the case of its letters. */
                q?: components["parameters"]["q"];
                /** @description Only what this user uploaded, for example `2`. */
                user_id?: number;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["DocumentPage"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["AdminsOnly"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    listMyDocuments: {
        parameters: {
            query?: {
                /** @description Leave out so many from the start. */
                skip?: components["parameters"]["skip"];
                /** @description At most so many. */
                limit?: components["parameters"]["limit"];
                /** @description Only documents in this state, for example `Queued`. */
                status?: components["parameters"]["status"];
                /** @description Only documents in this virtual path (for example `/`, the root), with or without outer slashes. */
                path?: components["parameters"]["path"];
                /** @description With `path`, also documents in the paths below it. */
                recursive?: components["parameters"]["recursive"];
                /** @description Only documents whose file name has this text in it (for example `letter`), whatever the case of its letters. */
                q?: components["parameters"]["q"];
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["DocumentPage"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ActiveOnly"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    searchDocuments: {
        parameters: {
            query: {
                /**
                 * @description What to find. It has a letter or a digit.
                 * @example colleagues
                 */
                q: string;
                /** @description Leave out so many from the start. */
                skip?: components["parameters"]["skip"];
                /** @description At most so many. */
                limit?: components["parameters"]["limit"];
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description One page of what was found, and how much there is on all pages together. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "total": 1,
                     *       "items": [
                     *         {
                     *           "doc_id": 1,
                     *           "filename": "letter.txt",
                     *           "path": "/",
                     *           "uploaded_by_user_id": 2,
                     *           "uploaded_by": "Salma Haddad-Nasser",
                     *           "uploaded_at": "2026-02-26T14:30:00.123Z",
                     *           "status": "Queued",
                     *           "error_message": null,
                     *           "size": 17,
                     *           "content_type": "text/plain",
                     *           "score": 0.6237,
                     *           "snippet": {
                     *             "text": "Dear colleagues,",
                     *             "marks": [
                     *               [
                     *                 5,
                     *                 15
                     *               ]
                     *             ]
                     *           }
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["SearchPage"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ActiveOnly"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            /** @description The text store of this installation can't search. */
            501: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "detail": "This text store can't search."
                     *     }
                     */
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    getDocument: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The document's id.
                 * @example 1
                 */
                doc_id: components["parameters"]["doc_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The document with every stage of its processing. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "doc_id": 1,
                     *       "filename": "letter.txt",
                     *       "path": "/",
                     *       "uploaded_by_user_id": 2,
                     *       "uploaded_by": "Salma Haddad-Nasser",
                     *       "uploaded_at": "2026-02-26T14:30:00.123Z",
                     *       "status": "Queued",
                     *       "error_message": null,
                     *       "size": 17,
                     *       "content_type": "text/plain",
                     *       "sha256": "57d5ce21a923c4f8a939ec440190b1c5aedc576b0ec2c5ebcea67cdfb9193045",
                     *       "description": "Letter of March",
                     *       "stages": [
                     *         {
                     *           "stage_name": "OCR",
                     *           "status": "Queued",
                     *           "start_time": "2026-02-26T14:30:00.123Z",
                     *           "end_time": null,
                     *           "error_message": null,
                     *           "pages_done": null,
                     *           "pages_total": null
                     *         }
                     *       ],
                     *       "ocr": null,
                     *       "classification": null
                     *     }
                     */
                    "application/json": components["schemas"]["DocumentDetail"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ActiveOnly"];
            404: components["responses"]["NoSuchDocument"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    deleteDocument: {
        parameters: {
            query?: {
                /** @description Delete it even while it is queued or being processed. */
                force?: boolean;
            };
            header?: never;
            path: {
                /**
                 * @description The document's id.
                 * @example 1
                 */
                doc_id: components["parameters"]["doc_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Deleted. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "doc_id": 1,
                     *       "message": "Document deleted successfully."
                     *     }
                     */
                    "application/json": components["schemas"]["DeletedDocument"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["AdminsOnly"];
            /** @description There is no such document. */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "detail": "Document not found"
                     *     }
                     */
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            /** @description It is queued or being processed, and `force` was not given; or a table of the platform that this server does not know references it. */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "detail": "The document is queued; delete it with ?force=true."
                     *     }
                     */
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    getDocumentStatus: {
        parameters: {
            query?: never;
            header?: {
                /** @description `wait=N` (for example `wait=1`) waits up to N seconds (RFC 7240, section 4.3); more than 30 count as 30. Other preferences, and malformed ones, are ignored. */
                Prefer?: string;
            };
            path: {
                /**
                 * @description The document's id.
                 * @example 1
                 */
                doc_id: components["parameters"]["doc_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The state of its OCR. */
            200: {
                headers: {
                    "Preference-Applied": components["headers"]["Preference-Applied"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "doc_id": 1,
                     *       "filename": "letter.txt",
                     *       "stage_name": "OCR",
                     *       "status": "Queued",
                     *       "start_time": "2026-02-26T14:30:00.123Z",
                     *       "end_time": null,
                     *       "error_message": null,
                     *       "pages_done": null,
                     *       "pages_total": null
                     *     }
                     */
                    "application/json": components["schemas"]["DocumentStatus"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ActiveOnly"];
            404: components["responses"]["NoSuchDocument"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    getDocumentContent: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The document's id.
                 * @example 1
                 */
                doc_id: components["parameters"]["doc_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The text, and what its worker told about it. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "doc_id": 1,
                     *       "filename": "letter.txt",
                     *       "file_type": "txt",
                     *       "extracted_text": "Dear colleagues,\n",
                     *       "ocr": {
                     *         "page_count": 1,
                     *         "word_count": 2,
                     *         "avg_confidence": 1,
                     *         "primary_language": "en",
                     *         "elapsed_seconds": 0.1,
                     *         "cost_usd": null,
                     *         "chunks_used": null
                     *       },
                     *       "classification": null,
                     *       "processed_at": "2026-02-26T14:30:00.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["DocumentContent"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ActiveOnly"];
            /** @description There is no such document for the caller, or it has no text. */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    reprocessDocument: {
        parameters: {
            query?: {
                /** @description Also while it is queued or being processed, when an administrator says so. */
                force?: boolean;
            };
            header?: never;
            path: {
                /**
                 * @description The document's id.
                 * @example 1
                 */
                doc_id: components["parameters"]["doc_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Queued again. */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "doc_id": 1,
                     *       "filename": "letter.txt",
                     *       "stage_name": "OCR",
                     *       "status": "Queued",
                     *       "start_time": "2026-02-26T14:30:00.123Z",
                     *       "end_time": null,
                     *       "error_message": null,
                     *       "pages_done": null,
                     *       "pages_total": null
                     *     }
                     */
                    "application/json": components["schemas"]["DocumentStatus"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ActiveOnly"];
            /** @description There is no such document for the caller, or its file is missing from the storage. */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            /** @description It is queued or being processed. */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "detail": "The document is queued; an administrator can force it with ?force=true."
                     *     }
                     */
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    downloadDocument: {
        parameters: {
            query?: never;
            header?: {
                /** @description One range of bytes (RFC 9110, section 14), for example `bytes=0-3`. Several ranges, or another unit, get the whole file. */
                Range?: string;
                /** @description The `Range` counts only if the file still has this entity tag, one of an `ETag`. */
                "If-Range"?: string;
                /** @description Entity tags of copies that the client has; 304 if the file is one of these. */
                "If-None-Match"?: string;
            };
            path: {
                /**
                 * @description The document's id.
                 * @example 1
                 */
                doc_id: components["parameters"]["doc_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The whole file. */
            200: {
                headers: {
                    ETag: components["headers"]["ETag"];
                    "Accept-Ranges": components["headers"]["Accept-Ranges"];
                    "Content-Disposition": components["headers"]["Content-Disposition"];
                    "Content-Security-Policy": components["headers"]["Sandbox"];
                    "Content-Length": components["headers"]["Content-Length"];
                    [name: string]: unknown;
                };
                content: {
                    "*/*": Blob;
                };
            };
            /** @description The part that `Range` asked for. */
            206: {
                headers: {
                    ETag: components["headers"]["ETag"];
                    "Accept-Ranges": components["headers"]["Accept-Ranges"];
                    "Content-Disposition": components["headers"]["Content-Disposition"];
                    "Content-Security-Policy": components["headers"]["Sandbox"];
                    "Content-Length": components["headers"]["Content-Length"];
                    "Content-Range": components["headers"]["Content-Range"];
                    [name: string]: unknown;
                };
                content: {
                    "*/*": Blob;
                };
            };
            /** @description The client has this file already. */
            304: {
                headers: {
                    ETag: components["headers"]["ETag"];
                    "Accept-Ranges": components["headers"]["Accept-Ranges"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ActiveOnly"];
            /** @description There is no such document for the caller, or its file is missing from the storage. */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            /** @description The file has no such range. */
            416: {
                headers: {
                    "Content-Range": components["headers"]["Content-Range"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "detail": "The file does not have this range."
                     *     }
                     */
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    listPaths: {
        parameters: {
            query?: {
                /** @description Only paths of at least so many segments; the root has none. */
                minDepth?: number;
                /** @description Only paths of at most so many segments. */
                maxDepth?: number;
                /** @description Only paths that begin with this text, taken literally, for example `archive`. */
                prefix?: string;
                /** @description Leave out so many from the start. */
                skip?: components["parameters"]["skip"];
                /** @description At most so many; without it all that are left. */
                limit?: number;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The paths. */
            200: {
                headers: {
                    "X-Total-Count": components["headers"]["X-Total-Count"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example [
                     *       {
                     *         "id": 2,
                     *         "full_path": "archive",
                     *         "description": null,
                     *         "depth": 1,
                     *         "created_at": "2026-02-26T14:30:00.123Z"
                     *       },
                     *       {
                     *         "id": 3,
                     *         "full_path": "archive/correspondence",
                     *         "description": "Letters in and out",
                     *         "depth": 2,
                     *         "created_at": "2026-02-26T14:30:00.123Z"
                     *       }
                     *     ]
                     */
                    "application/json": components["schemas"]["Path"][];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ActiveOnly"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    createPath: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "full_path": "/archive/correspondence/",
                 *       "description": "Letters in and out"
                 *     }
                 */
                "application/json": components["schemas"]["NewPath"];
            };
        };
        responses: {
            /** @description The new path. */
            201: {
                headers: {
                    Location: components["headers"]["Location"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": 3,
                     *       "full_path": "archive/correspondence",
                     *       "description": "Letters in and out",
                     *       "depth": 2,
                     *       "created_at": "2026-02-26T14:30:00.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["Path"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["AdminsOnly"];
            /** @description The path exists. */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "detail": "Path 'archive/correspondence' already exists."
                     *     }
                     */
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            413: components["responses"]["ContentTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    getPath: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The virtual path's id.
                 * @example 3
                 */
                path_id: components["parameters"]["path_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The path. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": 3,
                     *       "full_path": "archive/correspondence",
                     *       "description": "Letters in and out",
                     *       "depth": 2,
                     *       "created_at": "2026-02-26T14:30:00.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["Path"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ActiveOnly"];
            404: components["responses"]["NoSuchPath"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    deletePath: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The virtual path's id.
                 * @example 3
                 */
                path_id: components["parameters"]["path_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Deleted. */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description The root, or a path that documents or deeper paths are in. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["AdminsOnly"];
            404: components["responses"]["NoSuchPath"];
            409: components["responses"]["Referenced"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    updatePath: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The virtual path's id.
                 * @example 3
                 */
                path_id: components["parameters"]["path_id"];
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "full_path": "archive/letters"
                 *     }
                 */
                "application/json": components["schemas"]["PathUpdate"];
            };
        };
        responses: {
            /** @description The path after the change. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": 3,
                     *       "full_path": "archive/letters",
                     *       "description": "Letters in and out",
                     *       "depth": 2,
                     *       "created_at": "2026-02-26T14:30:00.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["Path"];
                };
            };
            /** @description No field at all, or a new name for the root. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["AdminsOnly"];
            404: components["responses"]["NoSuchPath"];
            /** @description Another path has this name. */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "detail": "Path 'archive' already exists."
                     *     }
                     */
                    "application/json": components["schemas"]["ApiError"];
                };
            };
            413: components["responses"]["ContentTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
    showSwaggerUi: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["Page"];
            404: components["responses"]["NotInDev"];
            500: components["responses"]["InternalError"];
            default: components["responses"]["Refused"];
        };
    };
    showRedoc: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["Page"];
            404: components["responses"]["NotInDev"];
            500: components["responses"]["InternalError"];
            default: components["responses"]["Refused"];
        };
    };
    getDescriptionAsJson: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description An OpenAPI 3.1 description. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": Record<string, never>;
                };
            };
            404: components["responses"]["NotInDev"];
            500: components["responses"]["InternalError"];
            default: components["responses"]["Refused"];
        };
    };
    getDescriptionAsYaml: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description An OpenAPI 3.1 description. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/yaml": string;
                };
            };
            404: components["responses"]["NotInDev"];
            500: components["responses"]["InternalError"];
            default: components["responses"]["Refused"];
        };
    };
    listLogs: {
        parameters: {
            query?: {
                /** @description Leave out so many from the start. */
                skip?: components["parameters"]["skip"];
                /** @description At most so many. */
                limit?: components["parameters"]["limit"];
                /** @description Only this kind of event, for example `document_upload`. */
                action_type?: string;
                /** @description Only what this user did (for example `2`), also when they have been deleted since. */
                user_id?: number;
                /** @description Only what happened at this instant (RFC 3339) or later, for example `2026-02-01T00:00:00Z`. */
                since?: string;
                /** @description Only what happened before this instant (RFC 3339), for example `2026-03-01T00:00:00Z`. */
                until?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description One page of the trail, and how many rows there are on all pages together. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "total": 1,
                     *       "items": [
                     *         {
                     *           "log_id": 12,
                     *           "log_timestamp": "2026-02-26T14:30:00.123Z",
                     *           "action_type": "document_upload",
                     *           "user_id": 2,
                     *           "entity_id": 1,
                     *           "details": {
                     *             "actor_id": 2,
                     *             "address": "127.0.0.1",
                     *             "request_id": "5f0c5a6e-3a4b-4a52-8c0b-6f3c8f8d8e11",
                     *             "at": "2026-02-26T14:30:00.123Z",
                     *             "event_id": "0b9d4c1e-27a3-4d6e-9a35-6d1f0f6f4c55",
                     *             "filename": "letter.txt",
                     *             "path": "/",
                     *             "size": 17,
                     *             "sha256": "57d5ce21a923c4f8a939ec440190b1c5aedc576b0ec2c5ebcea67cdfb9193045"
                     *           }
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["LogPage"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["AdminsOnly"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            default: components["responses"]["Refused"];
        };
    };
}
