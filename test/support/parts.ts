/** Other parts than the embedded ones, as the environment names them. */
const PASSED_ON = /^(BLOB_|MONGO_|MESSAGE_BROKER_URL$)/;

/**
 * The variables that choose storage, broker and content store of an app, with a container and a queue of its own, and what removes
 * these again. So the API suites run on Azurite and RabbitMQ by environment variables alone.
 */
export function partsFromEnvironment(run: string): {
  env: Record<string, string>;
  remove(): Promise<void>;
} {
  const given = Object.entries(process.env).filter(([name]) => PASSED_ON.test(name));
  const env: Record<string, string> = {
    ...(Object.fromEntries(given) as Record<string, string>),
    BLOB_STORAGE_CONTAINER_NAME: `test-${run}`,
    OCR_QUEUE_NAME: `test-${run}`,
  };
  return {
    env,
    async remove() {
      await removeContainer(env.BLOB_CONNECTION_STR, `test-${run}`);
      await removeQueue(env.MESSAGE_BROKER_URL, `test-${run}`);
    },
  };
}

async function removeContainer(connection: string | undefined, container: string): Promise<void> {
  if (!connection) return;
  const { BlobServiceClient } = await import("@azure/storage-blob");
  await BlobServiceClient.fromConnectionString(connection)
    .getContainerClient(container)
    .deleteIfExists();
}

async function removeQueue(url: string | undefined, queue: string): Promise<void> {
  if (!url?.startsWith("amqp")) return;
  const { connect } = await import("amqplib");
  const connection = await connect(url);
  const channel = await connection.createChannel();
  for (const name of [queue, `${queue}.failed`]) await channel.deleteQueue(name);
  await connection.close();
}
