// 8259A data sheet (1988): initialization and operation command words, priorities, cascading; edge/level registers as on PIIX chipsets.

import { describe, expect, it } from 'vitest';
import { IoBus } from '../../src/devices/io-bus.ts';
import { Pic8259Pair } from '../../src/devices/pic8259.ts';

type Setup = { readonly icw1?: number; readonly icw4?: number; readonly icw4Slave?: number };

/** Vectors 20h and 28h, nothing masked. */
function controllers({ icw1 = 0x11, icw4 = 1, icw4Slave = 1 }: Setup = {}) {
  const levels: boolean[] = [];
  let settled = 0;
  const pair = new Pic8259Pair(
    (level) => levels.push(level),
    () => {
      settled++;
    },
  );
  const bus = new IoBus();
  bus.map(0x20, 2, pair.masterPorts);
  bus.map(0xa0, 2, pair.slavePorts);
  bus.map(0x4d0, 2, pair.elcrPorts);
  const out = (port: number, value: number): void => bus.out(port, 1, value);
  const read = (port: number): number => bus.in(port, 1);
  const init = (): void => {
    for (const [port, vector, third, fourth] of [
      [0x20, 0x20, 4, icw4],
      [0xa0, 0x28, 2, icw4Slave],
    ] as const) {
      out(port, icw1);
      for (const word of [vector, third, ...((icw1 & 1) === 0 ? [] : [fourth])]) out(port + 1, word);
    }
  };
  init();
  const pulse = (...irqs: number[]): void => {
    for (const irq of irqs) {
      pair.line(irq, true);
      pair.line(irq, false);
    }
  };
  /** The vector that the processor gets; null: INT is low. */
  const take = (): number | null => (levels.at(-1) === true ? pair.acknowledge() : null);
  const isr = (port: number): number => {
    out(port, 0x0b);
    return read(port);
  };
  const irr = (port: number): number => {
    out(port, 0x0a);
    return read(port);
  };
  return { pair, levels, out, read, init, pulse, take, isr, irr, settled: () => settled };
}
const EOI = 0x20;

describe('initialization', () => {
  it('before it nothing is asked for, whatever is unmasked', () => {
    const levels: boolean[] = [];
    const pair = new Pic8259Pair((level) => levels.push(level));
    expect(pair.masterPorts.in(1, 1)).toBe(0xff);
    pair.masterPorts.out(1, 1, 0);
    pair.line(3, true);
    expect([levels, pair.listens(3), pair.masterPorts.in(1, 1)]).toEqual([[], false, 0]);
  });

  it('ICW2 is bits 7:3 of the vector', () => {
    const { out, pulse, take } = controllers();
    out(0x20, 0x11);
    for (const word of [0x4d, 4, 1]) out(0x21, word);
    pulse(3);
    expect(take()).toBe(0x4b);
  });

  it('ICW1 clears the interrupt mask, the edges and what is in service, and gives IR7 priority 7', () => {
    const { out, read, init, pulse, take, isr, pair } = controllers();
    out(0x20, 0xc2);
    out(0x21, 0x0f);
    pair.line(6, true);
    take();
    pulse(1);
    init();
    expect([read(0x21), isr(0x20), take()]).toEqual([0, 0, null]);
    pulse(7, 0);
    expect(take()).toBe(0x20);
    pair.line(6, true); // it was high already: there is no edge
    out(0x20, EOI);
    expect(take()).toBe(0x27);
  });

  it('asks for nothing between ICW1 and the last word', () => {
    const { out, pulse, take } = controllers();
    out(0x20, 0x11);
    pulse(1);
    out(0x21, 0x40);
    out(0x21, 4);
    expect(take()).toBeNull();
    out(0x21, 1);
    expect(take()).toBe(0x41);
  });

  it('ICW1 says whether there are ICW3 (not single) and ICW4; without ICW4 its functions are zeros', () => {
    const { out, read, take, pulse, isr } = controllers({ icw4: 3 });
    out(0x20, 0x12);
    out(0x21, 0x50);
    out(0x21, 0xf0); // OCW1
    expect(read(0x21)).toBe(0xf0);
    pulse(2, 1);
    expect([take(), isr(0x20)]).toEqual([0x51, 2]);
  });

  it('as firmware leaves it: vectors 8 and 70h, nothing masked', () => {
    const { pair, read, pulse, take, out } = controllers();
    pair.initialiseAsFirmware();
    expect([read(0x21), read(0xa1)]).toEqual([0, 0]);
    pulse(0);
    expect(take()).toBe(8);
    out(0x20, EOI);
    pulse(11);
    expect(take()).toBe(0x73);
  });
});

describe('requests and priorities', () => {
  it('the highest priority of those that wait is served; lower ones wait for its end', () => {
    const { pulse, take, out, irr, isr } = controllers();
    pulse(4, 1, 6);
    expect([irr(0x20), take(), isr(0x20), irr(0x20), take()]).toEqual([0x52, 0x21, 2, 0x50, null]);
    out(0x20, EOI);
    expect(take()).toBe(0x24);
  });

  it('a higher one interrupts one in service; a non-specific EOI ends the highest', () => {
    const { pulse, take, out, isr } = controllers();
    pulse(4);
    expect(take()).toBe(0x24);
    pulse(4, 1);
    expect([take(), isr(0x20)]).toEqual([0x21, 0x12]);
    out(0x20, EOI);
    expect([isr(0x20), take()]).toEqual([0x10, null]);
    out(0x20, EOI);
    expect(take()).toBe(0x24);
  });

  it('a specific EOI ends the level that it names', () => {
    const { pulse, take, out, isr } = controllers();
    pulse(4);
    take();
    pulse(1);
    take();
    out(0x20, 0x64);
    expect(isr(0x20)).toBe(2);
  });

  it('IMR holds off a request, which is remembered', () => {
    const { pulse, take, out, read, irr, pair } = controllers();
    out(0x21, 0x08);
    pulse(3);
    expect([take(), read(0x21), irr(0x20), pair.listens(3), pair.listens(4)]).toEqual([null, 8, 8, false, true]);
    out(0x21, 0);
    expect(take()).toBe(0x23);
  });

  it('what has vanished when it is acknowledged is the default IR7, and nothing is in service', () => {
    const { pair, isr, out } = controllers();
    out(0x4d0, 0x20);
    pair.line(5, true);
    pair.line(5, false);
    expect([pair.acknowledge(), isr(0x20)]).toEqual([0x27, 0]);
  });

  it('devices raise what they have to raise before anything is read or changed', () => {
    const { settled, read, out } = controllers();
    const before = settled();
    read(0x21);
    out(0xa1, 0);
    out(0x4d1, 0);
    expect(settled() - before).toBe(3);
  });
});

describe('edge and level', () => {
  it('an edge is one interrupt, however long the input stays high', () => {
    const { pair, take, out } = controllers();
    pair.line(5, true);
    expect(take()).toBe(0x25);
    out(0x20, EOI);
    pair.line(5, true);
    expect(take()).toBeNull();
    pair.line(5, false);
    pair.line(5, true);
    expect(take()).toBe(0x25);
  });

  it.each(['LTIM', 'ELCR'])('a level asks again after EOI as long as it is high (%s)', (by) => {
    const { pair, take, out } = controllers(by === 'LTIM' ? { icw1: 0x19 } : {});
    if (by === 'ELCR') out(0x4d0, 0x20);
    pair.line(5, true);
    expect([take(), take()]).toEqual([0x25, null]);
    out(0x20, EOI);
    expect(take()).toBe(0x25);
    pair.line(5, false);
    out(0x20, EOI);
    expect(take()).toBeNull();
  });

  it('ELCR has no bits for IRQ 0, 1, 2, 8 and 13', () => {
    const { read, out } = controllers();
    out(0x4d0, 0xff);
    out(0x4d1, 0xff);
    expect([read(0x4d0), read(0x4d1)]).toEqual([0xf8, 0xde]);
  });
});

describe('cascading', () => {
  it('the slave asks through IR2 of the master, and both are to be ended', () => {
    const { pulse, take, out, isr } = controllers();
    pulse(10, 3);
    expect([take(), isr(0x20), isr(0xa0), take()]).toEqual([0x2a, 4, 4, null]);
    pulse(9); // higher within the slave, but the master serves the slave
    expect(take()).toBeNull();
    out(0xa0, EOI);
    expect(take()).toBeNull();
    out(0x20, EOI);
    expect(take()).toBe(0x29);
    out(0xa0, EOI);
    out(0x20, EOI);
    expect(take()).toBe(0x23);
  });

  it('in special fully nested mode a higher request of the slave interrupts its lower one', () => {
    const { pulse, take } = controllers({ icw4: 0x11 });
    pulse(10);
    expect(take()).toBe(0x2a);
    pulse(12);
    expect(take()).toBeNull();
    pulse(9);
    expect(take()).toBe(0x29);
  });

  it('a request of the slave that somebody has polled is one of the master no more', () => {
    const { pair, out, read, take, irr, pulse } = controllers();
    pulse(11);
    expect(irr(0x20)).toBe(4);
    out(0xa0, 0x0c);
    expect(read(0xa0)).toBe(0x83);
    expect([irr(0x20), take(), pair.acknowledge()]).toEqual([0, null, 0x27]);
  });

  it('IR2 itself has nobody but the slave', () => {
    const { pair, levels } = controllers();
    pair.line(2, true);
    pair.line(23, true);
    expect(levels).toEqual([]);
  });
});

describe('modes', () => {
  it('automatic EOI ends the interrupt with its acknowledge', () => {
    const { pulse, take, isr } = controllers({ icw4: 3 });
    pulse(4, 5);
    expect([take(), isr(0x20), take(), take()]).toEqual([0x24, 0, 0x25, null]);
  });

  it('rotation in automatic EOI mode is set and cleared by OCW2', () => {
    const { pulse, take, out } = controllers({ icw4: 3 });
    out(0x20, 0x80);
    pulse(4);
    take();
    pulse(4, 5);
    expect([take(), take()]).toEqual([0x25, 0x24]);
    out(0x20, 0);
    pulse(5); // IR4 is lowest now, and stays so
    take();
    pulse(4, 6);
    expect([take(), take()]).toEqual([0x26, 0x24]);
  });

  it('rotate on non-specific EOI: what was served becomes the lowest', () => {
    const { pulse, take, out } = controllers();
    pulse(4);
    take();
    out(0x20, 0xa0);
    pulse(4, 6);
    expect(take()).toBe(0x26);
  });

  it('rotate on specific EOI, and set priority: the level named becomes the lowest', () => {
    const { pulse, take, out, isr } = controllers();
    pulse(1);
    take();
    out(0x20, 0xe1);
    expect(isr(0x20)).toBe(0);
    pulse(1, 7);
    expect(take()).toBe(0x27);
    out(0x20, EOI);
    out(0x20, 0xc3);
    pulse(4);
    expect(take()).toBe(0x24);
  });

  it('in special mask mode a masked level in service holds off nobody, and no non-specific EOI ends it', () => {
    const { pulse, take, out, isr } = controllers();
    pulse(3);
    take();
    out(0x21, 8);
    pulse(6);
    expect(take()).toBeNull();
    out(0x20, 0x68);
    expect(take()).toBe(0x26);
    out(0x20, EOI);
    out(0x20, EOI);
    expect(isr(0x20)).toBe(8);
    out(0x20, 0x48);
    out(0x20, EOI);
    expect(isr(0x20)).toBe(0);
  });

  it('a poll command makes the next read the acknowledge: bit 7 and the level; 0 if nothing waits', () => {
    const { pulse, out, read, isr } = controllers();
    out(0x20, 0x0c);
    expect(read(0x20)).toBe(0);
    pulse(6);
    out(0x20, 0x0c);
    expect([read(0x20), isr(0x20)]).toEqual([0x86, 0x40]);
  });

  it('OCW3 chooses what is read until it says something else; special mask only with ESMM', () => {
    const { pulse, take, out, read } = controllers();
    pulse(1);
    out(0x20, 0x0a);
    expect(read(0x20)).toBe(2);
    take();
    out(0x20, 0x0b);
    out(0x20, 0x28); // SMM without ESMM, and no RR
    expect([read(0x20), read(0x20)]).toEqual([2, 2]);
    pulse(1, 5);
    expect(take()).toBeNull();
  });
});
