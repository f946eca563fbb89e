// How peers are run: their processes, and v86, which is always there.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { assemble } from '../../src/asm/assemble.ts';
import { OutOfTime } from '../../tools/bench/deadline.ts';
import { findPeer } from '../../tools/bench/peers/all.ts';
import { PeerFailure, versionOf } from '../../tools/bench/peers/peer.ts';
import { timeMarks } from '../../tools/bench/peers/process.ts';
import { type Workload, workloads } from '../../tools/bench/workloads.ts';

const folder = mkdtempSync(join(tmpdir(), 'cbit-peers-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A peer that does what a script says; it never ends by itself. */
function play(script: string, limit = 20): Promise<number> {
  const serial = join(folder, 'serial.txt');
  rmSync(serial, { force: true });
  const prelude = `
    const print = (text) => require('node:fs').appendFileSync(${JSON.stringify(serial)}, text);
    const mark = (text) => process.stdout.write(text);
    setInterval(() => {}, 1000);
  `;
  return timeMarks({ command: process.execPath, args: ['-e', prelude + script], folder, serial, after: 2, limit });
}

describe('the process of a peer', () => {
  it('is timed between its marks, and ended once it has printed its result', async () => {
    const seconds = await play(`mark('[0]\\x02['); setTimeout(() => { mark(']'); print('PASS: all\\n'); }, 300);`);
    expect(seconds).toBeGreaterThan(0.2);
  });

  it.each([
    ['prints FAIL', `mark('\\x02[]'); print('FAIL: another checksum\\n');`, 'FAIL: another checksum'],
    ['ends without a word', 'process.exit(0);', 'it printed no PASS'],
    ['ends with an error', `console.error('no such device'); process.exit(1);`, 'it printed no PASS (no such device)'],
    ['passes without marks', `print('PASS: all\\n'); process.exit(0);`, 'it did not mark begin and end'],
  ])('that %s has failed', async (_, script, message) => {
    await expect(play(script)).rejects.toThrow(new PeerFailure(message));
  });

  it('is ended when its time is over', async () => {
    await expect(play('', 0.5)).rejects.toThrow(OutOfTime);
  });
});

it('a program that is not there has no version', () => {
  expect(versionOf('cbit-no-such-program', ['--version'], /./)).toBeNull();
});

/** A kernel by the address fields of the Multiboot header (specification 0.6.96, 3.1.3). */
const multiboot = (body: string): Uint8Array =>
  assemble(
    `
      bits 32
    header:
      dd 0x1badb002, 0x10000, -(0x1badb002 + 0x10000) & 0xffffffff
      dd header, header, end, end, entry
    entry:
      mov al, '['
      out 0xe9, al
      mov al, ']'
      out 0xe9, al
      mov esi, text
      mov dx, 0x3f8
    next:
      lodsb
      out dx, al
      cmp al, 10
      jne next
      ${body}
      out 0xf4, eax
      hlt
    text:
      db "PASS: all", 10
    end:
    `,
    { bits: 32, origin: 0x10_0000n },
  ).bytes;

describe('v86', () => {
  const peer = findPeer('v86');
  const workload = (body: string): Workload => {
    const path32 = join(folder, 'kernel.bin');
    writeFileSync(path32, multiboot(body));
    return { name: 'kernel', kind: 'compute', path: path32, path32 };
  };
  const start = (body: string): Promise<number> => {
    if ('absent' in peer) throw new Error(peer.absent);
    return peer.run(workload(body), 20);
  };

  it('is the version that package.json has', () => {
    const { devDependencies } = JSON.parse(readFileSync('package.json', 'utf8')) as { devDependencies: Record<string, string> };
    expect('absent' in peer ? peer.absent : peer.version.split('+', 1)[0]).toBe(devDependencies['v86']);
  });

  it('boots a Multiboot kernel, and its marks are timed', async () => {
    expect(await start('xor eax, eax')).toBeGreaterThanOrEqual(0);
  });

  it('fails with a kernel that ends with another value than 0', async () => {
    await expect(start('mov eax, 3')).rejects.toThrow(new PeerFailure('it ended with 3'));
  });
});

const qemu = findPeer('qemu');
it.skipIf('absent' in qemu)('QEMU, if it is here, runs a workload', async () => {
  const workload = workloads.find(({ name }) => name === 'context-switch') as Workload;
  expect('absent' in qemu || (await qemu.run(workload, 20))).toBeGreaterThan(0);
});
