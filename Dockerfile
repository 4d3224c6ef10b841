# syntax=docker/dockerfile:1

FROM node:26-slim AS builder
WORKDIR /app
COPY package.json package-lock.json ./
# No package needs its install script here: the compiler is a plain binary, and Node is the image's own.
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json openapi.yaml ./
COPY src ./src
# The engines of the OCR worker stay (73 MB; `--omit=optional` leaves them out). valibot names the
# TypeScript compiler as an optional peer, which nothing here loads.
RUN npm run build && npm prune --omit=dev --ignore-scripts && rm -rf node_modules/typescript node_modules/@typescript

FROM node:26-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="NassaQ Server" \
      org.opencontainers.image.description="Backend of a document digitisation platform: accounts, virtual folders, uploads, OCR queue" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/node:26-slim"
RUN useradd --uid 10014 --user-group --no-create-home --shell /usr/sbin/nologin user14 \
    && mkdir /data \
    && chown user14:user14 /data
WORKDIR /app
COPY --from=builder /app/node_modules ./node_modules
COPY --from=builder /app/dist ./dist
COPY --from=builder /app/package.json /app/openapi.yaml ./
ENV ENVIRONMENT=production \
    HOST=0.0.0.0 \
    PORT=8000 \
    DATA_DIR=/data
VOLUME /data
USER user14
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s --retries=3 \
  CMD ["node", "dist/cli/healthcheck.js"]
CMD ["node", "--enable-source-maps", "dist/main.js"]
