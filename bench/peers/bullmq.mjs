// The service as one would build it on BullMQ: POST /messages adds a delayed job, a worker posts it when it is due.
// node bullmq.mjs both|front|worker REDIS_URL CONCURRENCY CONNECTIONS; the port is the first line of the output.

import { once } from 'node:events';
import http from 'node:http';
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { Agent, request } from 'undici';

const [role, redisUrl, concurrency, connections] = process.argv.slice(2);
const QUEUE = 'messages';

function job({ id, scheduleTo, payload, webhookUrl }) {
  const timestamp = Date.now();
  return {
    name: 'deliver',
    data: { url: webhookUrl, payload },
    opts: { jobId: id, timestamp, delay: Math.max(0, Date.parse(scheduleTo) - timestamp) },
  };
}

async function front() {
  // A front answers rather than waits while Redis is away.
  const connection = new Redis(redisUrl, { enableOfflineQueue: false, maxRetriesPerRequest: 1 });
  await once(connection, 'ready');
  const queue = new Queue(QUEUE, { connection, defaultJobOptions: { removeOnComplete: true, removeOnFail: 1000 } });
  queue.on('error', (error) => console.error(error));
  await queue.waitUntilReady();

  async function accept(path, body) {
    if (path === '/messages') {
      const message = JSON.parse(body);
      const { name, data, opts } = job(message);
      await queue.add(name, data, opts);
      return [201, { status: 'scheduled', messageId: message.id, scheduledFor: message.scheduleTo }];
    }
    if (path === '/messages/batch') {
      const jobs = await queue.addBulk(JSON.parse(body).messages.map(job));
      return [200, { scheduled: jobs.length }];
    }
    return [404, {}];
  }

  const server = http.createServer((incoming, response) => {
    const chunks = [];
    incoming.on('data', (chunk) => chunks.push(chunk));
    incoming.on('end', () => {
      const body = chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
      accept(incoming.url, body.toString())
        .catch((error) => [503, { error: String(error) }])
        .then(([status, answer]) => {
          const text = JSON.stringify(answer);
          response.writeHead(status, {
            'Content-Type': 'application/json',
            'Content-Length': Buffer.byteLength(text),
          });
          response.end(text);
        });
    });
  });
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
}

async function work() {
  const dispatcher = new Agent({ connections: Number(connections) });
  const worker = new Worker(
    QUEUE,
    async ({ id, data }) => {
      const { statusCode, body } = await request(data.url, {
        dispatcher,
        method: 'POST',
        headers: { 'Content-Type': 'application/json', 'User-Agent': 'bench', 'X-Scheduler-Message-Id': id },
        body: JSON.stringify(data.payload),
      });
      await body.dump();
      if (statusCode >= 300) throw new Error(`answered ${statusCode}`);
    },
    { connection: new Redis(redisUrl, { maxRetriesPerRequest: null }), concurrency: Number(concurrency) },
  );
  worker.on('error', (error) => console.error(error));
  await worker.waitUntilReady();
}

if (role !== 'front') await work();
if (role !== 'worker') await front();
else console.log('ready');
