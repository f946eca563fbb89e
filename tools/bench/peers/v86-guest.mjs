// Boots a Multiboot image on v86 and prints one JSON object: seconds between the marks, what it sent over COM1, and what it wrote to
// the test device. A program of its own, because v86 keeps its process alive and compiles next to nothing else of ours.
//
//   node v86-guest.mjs IMAGE

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { V86 } from 'v86';

const MEMORY = 128 * 2 ** 20;
const [BEGIN, END] = [0x5b, 0x5d];

const image = readFileSync(process.argv[2]);
const machine = new V86({
  wasm_path: join(dirname(createRequire(import.meta.url).resolve('v86')), 'v86.wasm'),
  memory_size: MEMORY,
  vga_memory_size: 2 ** 20,
  multiboot: { buffer: image.buffer.slice(image.byteOffset, image.byteOffset + image.length) },
  autostart: false,
  log_level: 0,
  disable_speaker: true,
});
let serial = '';
let begin = null;
let end = null;

const mark = (byte) => {
  if (byte === BEGIN) begin ??= performance.now();
  if (byte === END) end ??= performance.now();
};
const finish = (value) => {
  const seconds = begin === null || end === null ? null : (end - begin) / 1000;
  process.stdout.write(JSON.stringify({ seconds, serial, value }), () => process.exit(0));
};

machine.add_listener('serial0-output-byte', (byte) => (serial += String.fromCharCode(byte)));
machine.add_listener('emulator-ready', () => {
  const { io } = machine.v86.cpu;
  io.register_write(0xe9, { name: 'debug console' }, mark);
  io.register_write(0xf4, { name: 'test device' }, finish, finish, finish);
  machine.run();
});
