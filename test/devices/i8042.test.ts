// The keyboard controller as drivers probe it. IBM PC AT Technical Reference, "Keyboard Controller".

import { beforeEach, describe, expect, it } from 'vitest';
import { I8042 } from '../../src/devices/i8042.ts';

let controller: I8042;
let line: boolean[];
let resets: number;

beforeEach(() => {
  line = [];
  resets = 0;
  controller = new I8042(
    (level) => {
      if (level !== (line.at(-1) ?? false)) line.push(level);
    },
    () => resets++,
  );
});
const status = (): number => controller.command.in(0, 1);
const command = (value: number): void => controller.command.out(0, 1, value);
const send = (value: number): void => controller.data.out(0, 1, value);
/** What waits, until the output buffer is empty. */
function answers(): number[] {
  const bytes: number[] = [];
  while ((status() & 1) !== 0) bytes.push(controller.data.in(0, 1));
  return bytes;
}

describe('the controller', () => {
  it('passes its self test, which sets the system flag, and that of the keyboard’s lines', () => {
    command(0xaa);
    expect([answers(), status() & 4]).toEqual([[0x55], 4]);
    command(0xab);
    expect(answers()).toEqual([0]);
  });

  it('keeps its command byte and its RAM', () => {
    command(0x60);
    send(0x30);
    command(0x20);
    expect([answers(), status() & 4]).toEqual([[0x30], 0]);
    command(0x7f);
    send(0x5a);
    command(0x3f);
    expect(answers()).toEqual([0x5a]);
  });

  it('tells drivers at once that there is no auxiliary device', () => {
    command(0xd3);
    send(0x5a);
    expect([status() & 0x20, answers()]).toEqual([0, [0x5a]]);
    command(0xa9);
    expect(answers()).toEqual([1]);
    command(0xd4);
    send(0xff);
    expect(answers()).toEqual([0xfe]);
    command(0xa8);
    command(0x20);
    expect((answers()[0] ?? 0xff) & 0x20).toBe(0);
  });

  it('has A20 on and the reset pin up; a pulse of it, or a 0, resets', () => {
    command(0xd0);
    expect(answers()).toEqual([3]);
    command(0xfe);
    expect(resets).toBe(1);
    command(0xff); // pulses nothing
    command(0xd1);
    send(0xdf);
    expect(resets).toBe(1);
    command(0xd1);
    send(0xde);
    expect(resets).toBe(2);
  });

  it('knows which of its ports was written last', () => {
    command(0xae);
    expect(status() & 8).toBe(8);
    send(0xf4);
    expect(status() & 8).toBe(0);
  });

  it('has an empty buffer for who reads without being told to', () => {
    expect([controller.data.in(0, 1), status() & 1]).toEqual([0, 0]);
  });
});

describe('the keyboard', () => {
  it('resets, tells what it is, acknowledges, and echoes', () => {
    for (const [byte, expected] of [
      [0xff, [0xfa, 0xaa]],
      [0xf2, [0xfa, 0xab, 0x83]],
      [0xf4, [0xfa]],
      [0xee, [0xee]],
      [0xed, [0xfa]],
      [0x07, [0xfa]], // the parameter of ED
      [0x07, [0xfe]], // no command
    ] as const) {
      send(byte);
      expect(answers()).toEqual(expected);
    }
  });

  it('interrupts for each byte while the command byte says so', () => {
    send(0xf2);
    expect(line).toEqual([true]);
    answers();
    expect(line).toEqual([true, false, true, false, true, false]);
    command(0x60);
    send(0);
    send(0xf2);
    expect(line.length).toBe(6);
  });

  it('says no more than somebody may read', () => {
    for (let n = 0; n < 1000; n++) send(0xf2);
    expect(answers().length).toBe(16);
  });
});
