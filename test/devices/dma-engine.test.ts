// The copy engine by its registers: descriptors, lengths, what it could not reach, the interrupt. docs/devices.md.

import { beforeEach, describe, expect, it } from 'vitest';
import { DmaCommand, DmaEngine, DmaRegister, DmaStatus } from '../../src/devices/dma-engine.ts';

const SIZE = 0x4_0000;
const LIST = 0x1000;

let memory: Uint8Array;
let line: boolean[];
let engine: DmaEngine;

beforeEach(() => {
  memory = new Uint8Array(SIZE);
  line = [];
  const has = (address: bigint, length: number): boolean => Number(address) + length <= SIZE;
  engine = new DmaEngine(
    {
      read: (address, into) =>
        has(address, into.length) && (into.set(memory.subarray(Number(address), Number(address) + into.length)), true),
      write: (address, from) => has(address, from.length) && (memory.set(from, Number(address)), true),
    },
    (level) => line.push(level),
  );
});

function describeAt(at: number, source: number, destination: number, length: number, next = 0): void {
  [source, destination, length, next].forEach((value, n) => new DataView(memory.buffer).setUint32(at + 4 * n, value, true));
}
const get = (register: number): number => engine.read(register, 4);
function start(at = LIST, command: number = DmaCommand.START): number {
  engine.write(DmaRegister.DESCRIPTORS, 4, at);
  engine.write(DmaRegister.COMMAND, 4, command);
  return get(DmaRegister.STATUS);
}

describe('a list of descriptors', () => {
  it('is copied piece by piece, and counted', () => {
    memory.set([1, 2, 3, 4, 5], 0x2000);
    describeAt(LIST, 0x2000, 0x3000, 3, LIST + 0x40);
    describeAt(LIST + 0x40, 0x2003, 0x3ffe, 2);
    expect(start()).toBe(DmaStatus.DONE);
    expect([...memory.subarray(0x3000, 0x3003), ...memory.subarray(0x3ffe, 0x4000)]).toEqual([1, 2, 3, 4, 5]);
    expect([get(DmaRegister.COUNT), get(DmaRegister.FAULT)]).toEqual([2, 0]);
  });

  it('may be of pieces of up to 64 KiB across pages; longer ones are an error', () => {
    memory.fill(7, 0x1_0800, 0x2_0800);
    describeAt(LIST, 0x1_0800, 0x2_0801, 0x1_0000);
    expect(start()).toBe(DmaStatus.DONE);
    expect(memory[0x3_0800]).toBe(7);
    describeAt(LIST, 0x1_0800, 0x2_0801, 0x1_0001);
    expect([start(), get(DmaRegister.FAULT)]).toEqual([DmaStatus.ERROR, LIST]);
  });

  it('that never ends is an error after 64', () => {
    describeAt(LIST, 0x2000, 0x3000, 1, LIST);
    expect([start(), get(DmaRegister.COUNT)]).toEqual([DmaStatus.ERROR, 64]);
  });
});

describe('what it cannot reach', () => {
  it.each([
    ['the descriptor', SIZE, 0, 0, SIZE],
    ['a source', LIST, SIZE - 4, 0x3000, SIZE - 4],
    ['a destination', LIST, 0x2000, SIZE, SIZE],
    ['what goes beyond 32 address lines', LIST, 0xffff_fffc, 0x3000, LIST],
  ])('%s is an error, and FAULT has the address', (_, at, source, destination, fault) => {
    if (at < SIZE) describeAt(at, source, destination, 8);
    expect([start(at), get(DmaRegister.FAULT)]).toEqual([DmaStatus.ERROR, fault]);
  });
});

describe('its interrupt', () => {
  it('comes when asked for, and goes when the status is cleared', () => {
    describeAt(LIST, 0x2000, 0x3000, 1);
    start();
    expect(line).toEqual([]);
    start(LIST, DmaCommand.START | DmaCommand.INTERRUPT);
    engine.write(DmaRegister.STATUS, 4, DmaStatus.DONE);
    expect(line).toEqual([true, false]);
    expect(get(DmaRegister.STATUS)).toBe(0);
  });
});

it('registers are written whole and read in any width; others read as zeros', () => {
  engine.write(DmaRegister.DESCRIPTORS, 4, 0x1234_5678);
  engine.write(DmaRegister.DESCRIPTORS, 2, 0);
  expect([engine.read(0, 4), engine.read(2, 2), engine.read(1, 1), engine.read(0x20, 4)]).toEqual([0x1234_5678, 0x1234, 0x56, 0]);
});
