import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { traceHeader, traceLine } from '../../src/debug/ndjson.ts';
import { type DramImage, TraceHash } from '../../src/debug/trace-hash.ts';
import { Tracer } from '../../src/debug/tracer.ts';
import type { TraceEvent } from '../../src/util/trace.ts';
import { at, cpuidThroughPage, ended } from './events.ts';

describe('the trace as NDJSON', () => {
  it.each<[TraceEvent, string]>([
    [
      at(7, { kind: 'exception', vector: 14, errorCode: 2, rip: 0xffff_ffff_8000_0000n, cr2: 0x1000n }),
      '{"at":7,"kind":"exception","vector":14,"name":"#PF","errorCode":"0x2","rip":"0xffffffff80000000","cr2":"0x1000"}',
    ],
    [
      at(7, { kind: 'exception', vector: 6, errorCode: null, rip: 1n, cr2: null }),
      '{"at":7,"kind":"exception","vector":6,"name":"#UD","errorCode":null,"rip":"0x1","cr2":null}',
    ],
    [
      at(8, { kind: 'vc', exitCode: 0x72, rip: 0x10n, instruction: 'CPUID' }),
      '{"at":8,"kind":"vc","exitCode":"0x72","name":"CPUID","rip":"0x10","instruction":"CPUID"}',
    ],
    [
      at(9, { kind: 'exit', exitCode: -1, exitInfo1: 0n, exitInfo2: 1n }),
      '{"at":9,"kind":"exit","exitCode":"0xffffffffffffffff","name":"INVALID","exitInfo1":"0x0","exitInfo2":"0x1"}',
    ],
    [at(9, { kind: 'vmrun', vmcb: 0x3000 }), '{"at":9,"kind":"vmrun","vmcb":"0x3000"}'],
    [at(9, { kind: 'inject', eventInj: 0x8000_030dn }), '{"at":9,"kind":"inject","eventInj":"0x8000030d"}'],
    [at(9, { kind: 'ghcb-msr', from: 'guest', value: 2n }), '{"at":9,"kind":"ghcb-msr","from":"guest","value":"0x2"}'],
    [
      at(9, { kind: 'ghcb', from: 'guest', gpa: 0x7000, fields: { rax: 1n, swExitCode: 0x72n } }),
      '{"at":9,"kind":"ghcb","from":"guest","gpa":"0x7000","fields":{"rax":"0x1","swExitCode":"0x72"}}',
    ],
    [
      at(0, { kind: 'asp', command: 'INIT', status: 'SUCCESS', detail: { handle: 1 } }),
      '{"at":0,"kind":"asp","command":"INIT","status":"SUCCESS","detail":{"handle":1}}',
    ],
    [
      at(1, { kind: 'unimplemented', instruction: 'VPADDD', rip: 0x10n }),
      '{"at":1,"kind":"unimplemented","instruction":"VPADDD","rip":"0x10"}',
    ],
    [at(2, { kind: 'end', outcome: 'ended', detail: 'x' }), '{"at":2,"kind":"end","outcome":"ended","detail":"x"}'],
  ])('%#: one line each', (event, line) => {
    expect(traceLine(event)).toBe(line);
  });

  it('begins with a line that says what it is', () => {
    const header = JSON.parse(traceHeader({ image: 'a', technology: 'sev', cpu: 'milan', memory: 4096, seed: '0' }));
    expect(header).toMatchObject({ cbit: 'trace', version: 1, image: 'a', seed: '0' });
  });
});

describe('the tracer', () => {
  it('stamps events with the instructions retired and hands them to every reader in order', () => {
    const seen: TraceEvent[][] = [[], []];
    const tracer = new Tracer(seen.map((list) => ({ note: (event) => void list.push(event) })));
    let retired = 5;
    tracer.clock = () => retired;
    tracer.emit({ kind: 'vmrun', vmcb: 1 });
    retired = 9;
    tracer.emit({ kind: 'vmrun', vmcb: 2 });
    expect(seen[0]).toEqual([at(5, { kind: 'vmrun', vmcb: 1 }), at(9, { kind: 'vmrun', vmcb: 2 })]);
    expect(seen[1]).toEqual(seen[0]);
  });
});

describe('the trace hash', () => {
  const memory = (pages: number, written: Readonly<Record<number, number>>): DramImage => ({
    pages,
    read: (page, into) => {
      into.fill(written[page] ?? 0);
      return written[page] !== undefined;
    },
  });
  const hash = (events: readonly TraceEvent[], dram: DramImage): string => {
    const reader = new TraceHash();
    for (const event of events) reader.note(event);
    return reader.finish(dram);
  };

  it('is SHA-256 of the lines, then of number and bytes of each page that is not all zeros', () => {
    const expected = createHash('sha256');
    for (const event of [...cpuidThroughPage, ended]) expected.update(`${traceLine(event)}\n`);
    for (const [page, byte] of [
      [1, 0xaa],
      [3, 0x55],
    ] as const) {
      const number = Buffer.alloc(8);
      number.writeBigUInt64LE(BigInt(page));
      expected.update(number).update(Buffer.alloc(4096, byte));
    }
    expect(hash([...cpuidThroughPage, ended], memory(4, { 3: 0x55, 1: 0xaa }))).toBe(expected.digest('hex'));
  });

  it('does not tell a page of zeros from one that was never touched', () => {
    expect(hash([], memory(8, { 2: 0 }))).toBe(hash([], memory(8, {})));
  });

  it('changes with any event, its time, its order, and any byte of memory', () => {
    const [first, second, ...rest] = cpuidThroughPage as [TraceEvent, TraceEvent, ...TraceEvent[]];
    const hashes = [
      hash(cpuidThroughPage, memory(4, { 1: 1 })),
      hash([{ ...first, at: 101 }, second, ...rest], memory(4, { 1: 1 })),
      hash([second, first, ...rest], memory(4, { 1: 1 })),
      hash([first, ...rest], memory(4, { 1: 1 })),
      hash(cpuidThroughPage, memory(4, { 1: 2 })),
      hash(cpuidThroughPage, memory(4, { 2: 1 })),
    ];
    expect(new Set(hashes).size).toBe(hashes.length);
  });

  it('is the same however many events are gathered', () => {
    const many = Array.from({ length: 3000 }, (_, n) => at(n, { kind: 'vmrun', vmcb: n }));
    const expected = createHash('sha256');
    for (const event of many) expected.update(`${traceLine(event)}\n`);
    expect(hash(many, memory(0, {}))).toBe(expected.digest('hex'));
  });
});
