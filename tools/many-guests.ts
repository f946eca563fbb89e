// A host of many guests: each of 16 MiB under SEV-ES runs guests/hello to its end, all side by side in one process. Says on stdout, as one line of
// JSON, how long that took from the first guest's creation and what a guest costs in memory. `npm run bench` starts it with --expose-gc.
//
//   node --expose-gc tools/bundled.mjs tools/many-guests.ts 256

import { nodeAes } from '../src/cli/aes-node.ts';
import { Host } from '../src/host.ts';
import { helloGuest } from './bench/hello-guest.ts';

const count = Number(process.argv[2] ?? 256);
const MEBIBYTE = 2 ** 20;

function resident(): number {
  globalThis.gc?.();
  return process.memoryUsage.rss();
}

const host = new Host({ cpu: 'genoa', seed: '0', aes: nodeAes, esAsids: Math.max(count + 1, 2) });
// What is made once, for however many guests, is there before the first one that counts.
const sent: number[] = [];
const first = host.create(helloGuest('first', sent));
while (!host.advance(1_000_000));
const expected = String.fromCharCode(...sent);
first.destroy();
const before = resident();

const started = performance.now();
const outputs = Array.from({ length: count }, (): number[] => []);
for (const [n, output] of outputs.entries()) host.create(helloGuest(`guest ${n}`, output));
const created = performance.now();
const idle = resident();
const resumed = performance.now();
while (!host.advance(1_000_000));
const ended = performance.now();
const after = resident();

const touched = host.guests.reduce((sum, guest) => sum + guest.touched, 0);
const wrong = host.guests.filter((guest, n) => guest.result().value !== 0 || String.fromCharCode(...outputs[n]!) !== expected);
for (const guest of wrong.slice(0, 3)) console.error(`${guest.name}: ${JSON.stringify(guest.result().outcome)}`);
console.log(
  JSON.stringify({
    guests: count,
    seconds: (created - started + ended - resumed) / 1000,
    // MiB for each guest: after its launch, after its end, and what it wrote of its memory.
    idle: (idle - before) / count / MEBIBYTE,
    after: (after - before) / count / MEBIBYTE,
    touched: touched / count / MEBIBYTE,
  }),
);
process.exitCode = wrong.length === 0 && outputs.length === count ? 0 : 1;
