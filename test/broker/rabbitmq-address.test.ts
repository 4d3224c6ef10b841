import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { RabbitMQBroker } from "../../src/broker/rabbitmq.ts";
import { createLogger } from "../../src/log.ts";
import { silent } from "../contracts/broker.ts";
import { until } from "../support/wait.ts";

const isUnavailable = { name: "AppError", code: "unavailable" };

async function withBroker(
  url: string,
  work: (broker: RabbitMQBroker) => Promise<void>,
  log = silent,
) {
  const broker = new RabbitMQBroker({ url, queue: "jobs", log });
  try {
    await work(broker);
  } finally {
    await broker.close();
  }
}

describe("RabbitMQ's address", () => {
  test("is described and logged without its password", async () => {
    const lines: string[] = [];
    const log = createLogger({
      level: "debug",
      readable: false,
      write: (line) => lines.push(line),
    });
    const url = "amqp://somebody:s3cr%3At@127.0.0.1:1/vhost";
    await withBroker(
      url,
      async (broker) => {
        assert.equal(broker.description, "RabbitMQ at 127.0.0.1:1");
        await broker.connect();
        await assert.rejects(broker.ping(), (error: Error) => !/s3cr/.test(String(error.cause)));
      },
      log,
    );
    assert.ok(lines.length > 0);
    assert.doesNotMatch(lines.join(""), /s3cr/);
  });

  test("may hold any credentials; and a connection that dies in its handshake is replaced", async () => {
    const peer = await startDyingPeer();
    const [user, password] = ["مستخدم", "p@ss/w:ö%rd"];
    const url = `amqp://${encodeURIComponent(user)}:${encodeURIComponent(password)}@127.0.0.1:${peer.port}`;
    await withBroker(url, async (broker) => {
      await broker.connect();
      await until(async () => {
        await assert.rejects(broker.ping(), isUnavailable);
        return peer.logins.length >= 3;
      }, "three connections");
      assert.equal(peer.logins[0], `\0${user}\0${password}`);
    });
    await peer.close();
  });
});

/** Opens each connection as AMQP 0-9-1 has it, and closes it in the same packet as the last answer of the handshake. */
async function startDyingPeer() {
  const logins: string[] = [];
  const frame = (classId: number, methodId: number, ...fields: Buffer[]) => {
    const payload = Buffer.concat([u16(classId), u16(methodId), ...fields]);
    return Buffer.concat([
      Buffer.from([1, 0, 0]),
      u32(payload.length),
      payload,
      Buffer.from([0xce]),
    ]);
  };
  const long = (text: string) => Buffer.concat([u32(text.length), Buffer.from(text)]);
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => {
      socket.write(frame(10, 10, Buffer.from([0, 9]), u32(0), long("PLAIN"), long("en_US")));
      socket.once("data", (startOk: Buffer) => {
        const mechanism = 15 + startOk.readUInt32BE(11);
        const response = mechanism + 1 + startOk.readUInt8(mechanism);
        const length = startOk.readUInt32BE(response);
        logins.push(startOk.subarray(response + 4, response + 4 + length).toString());
        socket.write(frame(10, 30, u16(2047), u32(131072), u16(60)));
        socket.once("data", async () => {
          await sleep(20);
          const close = frame(10, 50, u16(320), Buffer.from([0]), u16(0), u16(0));
          socket.end(Buffer.concat([frame(10, 41, Buffer.from([0])), close]));
        });
      });
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    logins,
    port: (server.address() as AddressInfo).port,
    close: () => new Promise((resolve) => server.close(resolve)),
  };
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
