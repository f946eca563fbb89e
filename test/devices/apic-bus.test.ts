// Several local APICs: whom an interprocessor interrupt reaches. APM vol. 2, 16.5 (ICR), 16.6 (destinations, lowest priority), 16.10 (x2APIC).

import { describe, expect, it } from 'vitest';
import { ApicBus } from '../../src/devices/apic-bus.ts';
import { LocalApic } from '../../src/devices/local-apic.ts';
import { writeX2apic } from '../../src/devices/x2apic.ts';

const ICR = {
  INIT: 0x500,
  STARTUP: 0x600,
  NMI: 0x400,
  LOWEST: 0x100,
  LOGICAL: 0x800,
  ASSERT: 0x4000,
  SELF: 1 << 18,
  ALL: 2 << 18,
  OTHERS: 3 << 18,
};
const BASE = 0xfee0_0000n;
const X2APIC = 0xc00n;
const ENABLED = 0x800n;

/** So many enabled APICs with the numbers 0, 1, ... */
function machine(count: number, x2apic: boolean) {
  const bus = new ApicBus();
  const apics = Array.from({ length: count }, (_, id) => {
    let task = 0;
    const apic = new LocalApic({
      clock: { now: () => 0, tsc: () => 0n, whenTsc: () => 0 },
      taskPriority: {
        get: () => task,
        set: (value) => {
          task = value;
        },
      },
      endOfInterrupt: () => {},
      moved: () => {},
      physicalBits: 48,
      x2apic: true,
      id,
      send: (sender, message, everybody, here) => bus.send(sender, message, everybody, here),
    });
    bus.add(apic);
    apic.setBase(BASE | (x2apic ? X2APIC : ENABLED));
    apic.writeRegister(0x0f, 0x1ff);
    return apic;
  });
  const at = (n: number): LocalApic => apics[n]!;
  /** Whom a vector waits for. */
  const reached = (vector = 0x40): number[] => apics.flatMap((apic, n) => (apic.pending === vector ? [n] : []));
  return {
    bus,
    apics,
    at,
    reached,
    /** Processor 1 sends. */
    ipi(low: number, destination = 0, from = 1): number[] {
      if (x2apic) writeX2apic(at(from), 0x830, (BigInt(destination) << 32n) | BigInt(low | ICR.ASSERT));
      else {
        at(from).writeRegister(0x31, destination << 24);
        at(from).writeRegister(0x30, low | ICR.ASSERT);
      }
      return reached();
    },
  };
}

describe.each([
  ['xAPIC', false],
  ['x2APIC', true],
] as const)('an interprocessor interrupt in %s mode', (_mode, x2apic) => {
  it.each([
    ['a number', 0x40, 3, [3]],
    ['its own number', 0x40, 1, [1]],
    ['everybody', 0x40, x2apic ? 0xffff_ffff : 0xff, [0, 1, 2, 3]],
    ['a number that nobody has', 0x40, 9, []],
    ['itself by shorthand', 0x40 | ICR.SELF, 3, [1]],
    ['all by shorthand', 0x40 | ICR.ALL, 3, [0, 1, 2, 3]],
    ['all others by shorthand', 0x40 | ICR.OTHERS, 1, [0, 2, 3]],
  ])('reaches %s', (_name, low, destination, whom) => {
    expect(machine(4, x2apic).ipi(low, destination)).toEqual(whom);
  });

  it('that reaches nobody is an error of its sender', () => {
    const { ipi, at } = machine(2, x2apic);
    ipi(0x40, 9);
    at(1).writeRegister(0x28, 0);
    expect(at(1).readRegister(0x28)).toBe(4);
  });

  it('that is an NMI, INIT or STARTUP waits for its processor beside the vectors', () => {
    const { ipi, at } = machine(3, x2apic);
    ipi(ICR.NMI, 2);
    ipi(ICR.INIT, 2);
    ipi(ICR.STARTUP | 0x9f, 2);
    expect([at(2).nmi, at(2).init, at(2).startup]).toEqual([true, true, 0x9f]);
    expect([at(0).nmi, at(0).init, at(0).startup]).toEqual([false, false, -1]);
    ipi(ICR.INIT, 2);
    expect([at(2).init, at(2).startup]).toEqual([true, -1]);
  });

  it('of lowest priority goes to the one of those named that is least busy, its sender included', () => {
    const busy = (who: readonly number[]) => {
      const made = machine(4, x2apic);
      for (const n of who) made.at(n).writeRegister(0x08, 0x30);
      return made;
    };
    const low = 0x40 | ICR.LOWEST | ICR.ALL;
    expect(busy([0, 1, 3]).ipi(low)).toEqual([2]);
    expect(busy([0, 2, 3]).ipi(low)).toEqual([1]);
    expect(busy([]).ipi(low)).toHaveLength(1);
    expect(busy([0, 2, 3]).ipi(0x40 | ICR.LOWEST | ICR.OTHERS)).toHaveLength(1);
  });

  it('does not reach a disabled APIC', () => {
    const { ipi, at } = machine(3, x2apic);
    at(2).setBase(BASE);
    expect(ipi(0x40 | ICR.OTHERS)).toEqual([0]);
  });
});

describe('a logical destination', () => {
  it('in the flat model is a bit for each of eight', () => {
    const { ipi, apics } = machine(4, false);
    apics.forEach((apic, n) => apic.writeRegister(0x0d, (1 << n) << 24));
    expect(ipi(0x40 | ICR.LOGICAL, 0b1101)).toEqual([0, 2, 3]);
  });

  it('in the cluster model is a cluster and four bits', () => {
    const { ipi, apics } = machine(6, false);
    apics.forEach((apic, n) => {
      apic.writeRegister(0x0e, 0x0fff_ffff);
      apic.writeRegister(0x0d, (((n >> 2) << 4) | (1 << (n & 3))) << 24);
    });
    expect(ipi(0x40 | ICR.LOGICAL, 0x05)).toEqual([0, 2]);
    expect(ipi(0x40 | ICR.LOGICAL, 0x13)).toEqual([0, 2, 4, 5]); // those of before still wait
    expect(ipi(0x40 | ICR.LOGICAL, 0xff)).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('in x2APIC mode is a cluster of sixteen and sixteen bits', () => {
    const { ipi } = machine(40, true);
    expect(ipi(0x40 | ICR.LOGICAL, 0x8001)).toEqual([0, 15]);
    expect(ipi(0x40 | ICR.LOGICAL, (2 << 16) | 0xff00)).toEqual([0, 15]); // processors 40 to 47 are not there
    expect(ipi(0x40 | ICR.LOGICAL, (1 << 16) | 0x0003)).toEqual([0, 15, 16, 17]);
  });
});

it('a message of an I/O APIC reaches whom it names, with eight bits of destination', () => {
  const { bus, reached } = machine(3, true);
  const message = { type: 0, vector: 0x40, level: false, logical: false } as const;
  expect(bus.deliver({ ...message, destination: 2 })).toBe(true);
  expect(reached()).toEqual([2]);
  expect(bus.deliver({ ...message, destination: 7 })).toBe(false);
  expect(bus.deliver({ ...message, destination: 0xff })).toBe(true);
  expect(reached()).toEqual([0, 1, 2]);
});

describe('APICs of both modes', () => {
  const mixed = () => {
    const made = machine(3, true);
    for (const n of [1, 2]) {
      made.at(n).setBase(BASE);
      made.at(n).setBase(BASE | ENABLED);
      made.at(n).writeRegister(0x0f, 0x1ff);
    }
    return made;
  };

  it('name each other by number, all 32 bits of it', () => {
    expect(mixed().ipi(0x40, 1, 0)).toEqual([1]);
    expect(mixed().ipi(0x40, 0x101, 0)).toEqual([]);
    expect(mixed().ipi(0x40, 0xffff_ffff, 0)).toEqual([0, 1, 2]);
  });

  it('FFh of eight bits names all of them', () => {
    const { at, reached } = mixed();
    at(1).writeRegister(0x31, 0xff00_0000);
    at(1).writeRegister(0x30, 0x40 | ICR.ASSERT);
    expect(reached()).toEqual([0, 1, 2]);
  });
});

describe('of lowest priority', () => {
  const low = 0x40 | ICR.LOWEST | ICR.LOGICAL;
  /** All but one are busy with a task. */
  const but = (idle: number, made: ReturnType<typeof machine>) => {
    made.apics.forEach((apic, n) => apic.writeRegister(0x08, n === idle ? 0 : 0x30));
    return made;
  };

  it('one of those that a logical destination names gets it: flat', () => {
    const flat = but(2, machine(4, false));
    flat.apics.forEach((apic, n) => apic.writeRegister(0x0d, (1 << n) << 24));
    expect(flat.ipi(low, 0b0110)).toEqual([2]);
    expect(but(2, machine(4, true)).ipi(low, 0b1001)).toHaveLength(1); // the idle one is not named
  });

  it('cluster', () => {
    const cluster = but(5, machine(8, false));
    cluster.apics.forEach((apic, n) => {
      apic.writeRegister(0x0e, 0x0fff_ffff);
      apic.writeRegister(0x0d, (((n >> 2) << 4) | (1 << (n & 3))) << 24);
    });
    expect(cluster.ipi(low, 0x1f)).toEqual([5]);
    expect(cluster.ipi(low, 0x01)).toEqual([0, 5]); // the only one that is named, busy or not
  });

  it('x2APIC', () => {
    expect(but(17, machine(20, true)).ipi(low, (1 << 16) | 0xf)).toEqual([17]);
  });

  it('one for whom an interrupt waits counts as busy', () => {
    const made = machine(3, true);
    made.at(0).writeRegister(0x08, 0x30);
    made.at(1).writeRegister(0x30, 0x80 | ICR.SELF | ICR.ASSERT);
    const everybody = 0x40 | ICR.LOWEST | ICR.ALL;
    expect(made.ipi(everybody, 0, 0)).toEqual([2]);
  });

  it('nobody whose APIC software has not enabled gets it; if there is no other its sender has an error', () => {
    const { at, ipi } = machine(3, true);
    for (const n of [0, 2]) at(n).writeRegister(0x0f, 0xff);
    expect(ipi(0x40 | ICR.LOWEST | ICR.ALL)).toEqual([1]);
    ipi(0x40 | ICR.LOWEST, 2);
    at(1).writeRegister(0x28, 0);
    expect(at(1).readRegister(0x28)).toBe(4);
  });
});
