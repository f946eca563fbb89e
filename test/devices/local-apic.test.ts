// APM vol. 2, chapter 16. The APIC is driven through its page and its MSRs, with a clock that the test moves.

import { describe, expect, it } from 'vitest';
import { LocalApic } from '../../src/devices/local-apic.ts';
import { readX2apic, writeX2apic } from '../../src/devices/x2apic.ts';

function apic(x2apic = true) {
  const seen = { now: 0, tsc: 0n, cr8: 0, ended: [] as number[], moved: [] as (bigint | null)[] };
  const device = new LocalApic({
    clock: { now: () => seen.now, tsc: () => seen.tsc, whenTsc: (value) => seen.now + Math.max(0, Number(value - seen.tsc) / 2) },
    taskPriority: {
      get: () => seen.cr8,
      set: (value) => {
        seen.cr8 = value;
      },
    },
    endOfInterrupt: (vector) => seen.ended.push(vector),
    moved: (base) => seen.moved.push(base),
    physicalBits: 48,
    x2apic,
  });
  const read = (offset: number): number => device.read(offset, 4);
  const write = (offset: number, value: number): void => device.write(offset, 4, value);
  /** Software enable. */
  const on = () => write(0xf0, 0x1ff);
  const send = (low: number, high = 0): void => {
    write(0x310, high);
    write(0x300, low);
  };
  /** What the processor takes now; null: nothing. */
  const take = (): number | null => {
    device.settle();
    const vector = device.pending;
    if (vector < 0) return null;
    device.accept(vector);
    return vector;
  };
  return { device, seen, read, write, on, send, take };
}
const EOI = 0xb0;
const ESR = 0x280;
const LVT_TIMER = 0x320;
const INITIAL = 0x380;
const CURRENT = 0x390;
const DIVIDE = 0x3e0;

describe('after reset', () => {
  it('the registers have the values of table 16-2', () => {
    const { read } = apic();
    expect([0x20, 0x30, 0x80, 0xa0, 0xd0, 0xe0, 0xf0, ESR].map(read)).toEqual([0, 0x5_0014, 0, 0, 0, 0xffff_ffff, 0xff, 0]);
    expect([LVT_TIMER, 0x330, 0x340, 0x350, 0x360, 0x370].map(read)).toEqual(Array(6).fill(0x1_0000));
    expect([INITIAL, CURRENT, DIVIDE].map(read)).toEqual([0, 0, 0]);
  });

  it('disabled by software it takes no fixed interrupt, but NMI and INIT; its LVT stays masked', () => {
    const { send, take, read, write, device } = apic();
    send(0x4_0040);
    expect(take()).toBeNull();
    send(0x4_0400);
    send(0x4_4500);
    expect([device.nmi, device.init]).toEqual([true, true]);
    write(LVT_TIMER, 0x40);
    expect(read(LVT_TIMER)).toBe(0x1_0040);
  });
});

describe('the page', () => {
  it('has registers at multiples of 16, to be written whole', () => {
    const { device, read } = apic();
    device.write(0x80, 1, 0x70);
    device.write(0x84, 4, 0x70);
    expect(read(0x80)).toBe(0);
    device.write(0x80, 4, 0x73);
    expect([device.read(0x80, 4), device.read(0x80, 1), device.read(0x82, 2), device.read(0x84, 4)]).toEqual([0x73, 0x73, 0, 0]);
  });

  it('a register that does not exist is an error', () => {
    const { read, write } = apic();
    expect(read(0x3f0)).toBe(0);
    write(ESR, 0);
    expect(read(ESR)).toBe(0x80);
    write(ESR, 0);
    expect(read(ESR)).toBe(0);
  });

  it('keeps only the bits that exist', () => {
    const { read, write, on } = apic();
    on();
    for (const offset of [0xd0, 0xe0, LVT_TIMER, 0x330, 0x350, 0x370, DIVIDE]) write(offset, 0xffff_ffff);
    expect([0xd0, 0xe0, LVT_TIMER, 0x330, 0x350, 0x370, DIVIDE].map(read)).toEqual([
      0xff00_0000, 0xffff_ffff, 0x7_00ff, 0x1_07ff, 0x1_a7ff, 0x1_07ff, 0xb,
    ]);
  });
});

describe('priorities', () => {
  it('IRR, ISR and PPR follow an interrupt through its life', () => {
    const { on, send, read, write, take } = apic();
    on();
    send(0x4_0063);
    expect([read(0x230), read(0x130), read(0xa0)]).toEqual([8, 0, 0]);
    expect(take()).toBe(0x63);
    expect([read(0x230), read(0x130), read(0xa0)]).toEqual([0, 8, 0x60]);
    write(EOI, 0);
    expect([read(0x130), read(0xa0)]).toEqual([0, 0]);
  });

  it('the task priority wins over a class that is not above it, with its low bits', () => {
    const { on, send, read, write, take, seen } = apic();
    on();
    write(0x80, 0x65);
    expect([seen.cr8, read(0xa0)]).toEqual([6, 0x65]);
    send(0x4_006f);
    expect(take()).toBeNull();
    expect(read(0x90)).toBe(0x65); // arbitration priority: that of the task, which is as high as the request
    seen.cr8 = 5;
    expect(read(0x80)).toBe(0x50);
    expect(take()).toBe(0x6f);
  });

  it('EOI ends the highest in service', () => {
    const { on, send, write, take } = apic();
    on();
    send(0x4_0041);
    take();
    send(0x4_0081);
    expect(take()).toBe(0x81);
    send(0x4_0061);
    expect(take()).toBeNull();
    write(EOI, 0);
    expect(take()).toBe(0x61);
  });

  it('tells of the end of a level-triggered interrupt, and of no other', () => {
    const { on, device, write, take, seen, send, read } = apic();
    on();
    device.deliver({ type: 0, vector: 0x50, level: true, logical: false, destination: 0 });
    expect(read(0x1a0)).toBe(1 << 16);
    take();
    write(EOI, 0);
    send(0x4_0050);
    take();
    write(EOI, 0);
    expect(seen.ended).toEqual([0x50]);
  });
});

describe('the interrupt command register', () => {
  it.each([
    ['itself by shorthand', 0x4_0040, 0, true],
    ['all', 0x8_0040, 0, true],
    ['all others', 0xc_0040, 0, false],
    ['itself by ID', 0x40, 0, true],
    ['another ID', 0x40, 5 << 24, false],
    ['everybody', 0x40, 0xff << 24, true],
    ['its bit in the flat model', 0x840, 0x03 << 24, true],
    ['another bit', 0x840, 0x04 << 24, false],
    ['lowest priority', 0x940, 0x02 << 24, true],
  ])('sends to %s', (_name, low, high, arrives) => {
    const { on, write, send, take } = apic();
    on();
    write(0xd0, 0x02 << 24);
    send(low, high);
    expect(take()).toBe(arrives ? 0x40 : null);
  });

  it('in the cluster model wants the cluster and the bit', () => {
    const { on, write, send, take } = apic();
    on();
    write(0xe0, 0x0fff_ffff);
    write(0xd0, 0x32 << 24);
    send(0x840, 0x42 << 24);
    send(0x840, 0x31 << 24);
    expect(take()).toBeNull();
    send(0x840, 0x36 << 24);
    expect(take()).toBe(0x40);
  });

  it('a vector below 16 is not sent but an error, which interrupts by its LVT entry', () => {
    const { on, write, send, read, take } = apic();
    on();
    write(0x370, 0x77);
    send(0x4_000f);
    expect(take()).toBe(0x77);
    write(ESR, 0);
    expect(read(ESR)).toBe(0x20);
  });

  it('nobody there is an error; INIT deassert and SMI do nothing', () => {
    const { on, send, read, write, device } = apic();
    on();
    send(0x40, 7 << 24);
    write(ESR, 0);
    expect(read(ESR)).toBe(4);
    send(0x8_8500);
    send(0x4_0200);
    expect([device.init, device.attention]).toEqual([false, false]);
  });
});

describe('the timer', () => {
  it('counts at 1 GHz by its divisor and interrupts once', () => {
    const { on, write, read, take, seen, device } = apic();
    on();
    write(LVT_TIMER, 0x40);
    write(DIVIDE, 3); // 16
    write(INITIAL, 100);
    expect(device.deadline).toBe(1600);
    seen.now = 800;
    expect(read(CURRENT)).toBe(50);
    expect(take()).toBeNull();
    seen.now = 1600;
    expect(take()).toBe(0x40);
    expect([read(CURRENT), device.deadline]).toEqual([0, Number.POSITIVE_INFINITY]);
  });

  it('periodic, it asks once for each period that is served, and not twice while one waits', () => {
    const { on, write, take, seen, device } = apic();
    on();
    write(LVT_TIMER, 0x2_0040);
    write(DIVIDE, 0xb); // 1
    write(INITIAL, 1000);
    seen.now = 1000;
    device.settle();
    expect(device.deadline).toBe(Number.POSITIVE_INFINITY);
    seen.now = 3500;
    expect(take()).toBe(0x40);
    write(EOI, 0);
    expect([take(), device.deadline]).toEqual([null, 4000]);
  });

  it('masked, it counts and asks for nothing', () => {
    const { on, write, take, seen, device, read } = apic();
    on();
    write(LVT_TIMER, 0x3_0040);
    write(DIVIDE, 0xb);
    write(INITIAL, 1000);
    expect(device.deadline).toBe(Number.POSITIVE_INFINITY);
    seen.now = 1400;
    expect(read(CURRENT)).toBe(600);
    write(LVT_TIMER, 0x2_0040);
    expect([take(), device.deadline]).toEqual([null, 2000]);
  });

  it('a new divisor keeps the count', () => {
    const { on, write, read, seen } = apic();
    on();
    write(DIVIDE, 0xb);
    write(INITIAL, 1000);
    seen.now = 400;
    write(DIVIDE, 0); // 2
    expect(read(CURRENT)).toBe(600);
    seen.now = 600;
    expect(read(CURRENT)).toBe(500);
  });

  it('in TSC-deadline mode the count registers do nothing, and another mode disarms', () => {
    const { on, write, read, take, seen, device } = apic();
    on();
    device.tscDeadline = 500n;
    expect(device.tscDeadline).toBe(0n);
    write(LVT_TIMER, 0x4_0040);
    write(INITIAL, 5);
    expect([read(INITIAL), read(CURRENT)]).toEqual([0, 0]);
    device.tscDeadline = 500n;
    expect([device.tscDeadline, device.deadline]).toEqual([500n, 250]);
    seen.now = 250;
    seen.tsc = 500n;
    expect(take()).toBe(0x40);
    expect(device.tscDeadline).toBe(0n);
    device.tscDeadline = 900n;
    write(LVT_TIMER, 0x40);
    expect(device.deadline).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('APIC_BASE', () => {
  const BASE = 0xfee0_0000n;
  const XAPIC = BASE | 0x900n;
  const X2APIC = BASE | 0xd00n;
  const OFF = BASE | 0x100n;

  it.each([
    ['xAPIC to x2APIC', [X2APIC], true],
    ['xAPIC to disabled', [OFF], true],
    ['disabled to xAPIC', [OFF, XAPIC], true],
    ['x2APIC to disabled', [X2APIC, OFF], true],
    ['x2APIC to xAPIC', [X2APIC, XAPIC], false],
    ['disabled to x2APIC', [OFF, X2APIC], false],
    ['x2APIC without enable', [BASE | 0x500n], false],
    ['a reserved bit', [XAPIC | 1n], false],
    ['bit 9', [XAPIC | 0x200n], false],
    ['a bit beyond the physical address', [XAPIC | (1n << 48n)], false],
  ])('from %s', (_name, steps, allowed) => {
    const { device } = apic();
    expect(steps.map((value) => device.setBase(value)).at(-1)).toBe(allowed);
  });

  it('the page is where it says, in xAPIC mode only', () => {
    const { device, seen } = apic();
    device.setBase(0xfea0_0900n);
    device.setBase(0xfea0_0d00n);
    device.setBase(OFF);
    expect(seen.moved).toEqual([0xfea0_0000n, null, null]);
  });

  it('disabling resets, and the boot processor stays one', () => {
    const { device, read, on } = apic();
    on();
    device.setBase(BASE);
    expect(device.base).toBe(OFF);
    device.setBase(XAPIC);
    expect(read(0xf0)).toBe(0xff);
  });
});

describe('x2APIC MSRs', () => {
  const x2 = () => {
    const made = apic();
    made.device.setBase(0xfee0_0d00n);
    const get = (index: number) => readX2apic(made.device, index);
    const set = (index: number, value: bigint) => writeX2apic(made.device, index, value);
    set(0x80f, 0x1ffn);
    return { ...made, get, set };
  };

  it('are #GP in xAPIC mode', () => {
    const { device } = apic();
    expect([readX2apic(device, 0x802), writeX2apic(device, 0x808, 0n)]).toEqual([null, false]);
  });

  it('what can be read, and what not', () => {
    const { get } = x2();
    expect([0x802, 0x803, 0x80d, 0x80f, 0x832].map(get)).toEqual([0n, 0x5_0014n, 1n, 0x1ffn, 0x1_0000n]);
    for (const index of [0x800, 0x80b, 0x80e, 0x831, 0x83a, 0x83f]) expect(get(index)).toBeNull();
  });

  it.each([
    [0x802, 0n],
    [0x803, 0n],
    [0x80a, 0n],
    [0x80d, 0n],
    [0x810, 0n],
    [0x820, 0n],
    [0x839, 0n],
    [0x831, 0n], // read-only, or nothing there
    [0x80b, 1n],
    [0x828, 1n],
    [0x808, 0x100n],
    [0x80f, 0x400n],
    [0x832, 0x8_0000n],
    [0x83e, 4n],
    [0x83f, 0x100n],
    [0x830, 0x2000n],
    [0x838, 1n << 32n],
  ])('a write of %i with %i is #GP', (index, value) => {
    expect(x2().set(index, value)).toBe(false);
  });

  it('the command register has 64 bits and a logical ID of cluster and bit', () => {
    const { set, get, take } = x2();
    expect(set(0x830, (1n << 32n) | 0x840n)).toBe(true);
    expect([get(0x830), take()]).toEqual([(1n << 32n) | 0x840n, 0x40]);
    set(0x80b, 0n);
    set(0x830, (0x1_0001n << 32n) | 0x841n);
    expect(take()).toBeNull();
    set(0x830, (0xffff_ffffn << 32n) | 0x42n);
    expect(take()).toBe(0x42);
  });
});

it('without x2APIC mode APIC_BASE.EXTD is reserved', () => {
  const { device } = apic(false);
  expect(device.setBase(0xfee0_0d00n)).toBe(false);
  expect(device.setBase(0xfee0_0900n)).toBe(true);
});
