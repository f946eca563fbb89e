import { describe, expect, it } from 'vitest';
import { Uart16550 } from '../../src/devices/uart16550.ts';

const RBR = 0;
const IER = 1;
const IIR = 2;
const FCR = 2;
const LCR = 3;
const MCR = 4;
const LSR = 5;
const MSR = 6;
const SCR = 7;
const OUT2 = 0x08;
const LOOP = 0x10;

function connected(typed = '') {
  const waiting = [...typed].map((character) => character.charCodeAt(0));
  const sent: number[] = [];
  const levels: boolean[] = [];
  const uart = new Uart16550({ transmit: (byte) => sent.push(byte), next: () => waiting.shift() }, (level) => levels.push(level));
  return {
    uart,
    sent,
    levels,
    waiting,
    read: (offset: number) => uart.in(offset),
    write: (offset: number, value: number) => uart.out(offset, 1, value),
    readAll: (count: number) => String.fromCharCode(...Array.from({ length: count }, () => uart.in(RBR))),
  };
}

describe('16550 after reset', () => {
  it('has no interrupt pending, an empty transmitter, and a peer that is ready', () => {
    const { read } = connected();
    expect([IER, IIR, LCR, MCR, LSR, MSR, SCR].map(read)).toEqual([0, 0x01, 0, 0, 0x60, 0xb0, 0]);
  });

  it('sends what is written to THR', () => {
    const { write, sent, read } = connected();
    for (const byte of [0x48, 0x69, 0xff]) write(RBR, byte);
    expect(sent).toEqual([0x48, 0x69, 0xff]);
    expect(read(LSR)).toBe(0x60);
  });
});

describe('divisor latch', () => {
  it('lies at offsets 0 and 1 while DLAB is set, and nowhere else', () => {
    const { read, write, sent } = connected();
    write(LCR, 0x83);
    write(0, 0x34);
    write(1, 0x12);
    expect([read(0), read(1), read(LCR)]).toEqual([0x34, 0x12, 0x83]);
    write(LCR, 0x03);
    expect([read(0), read(1)]).toEqual([0, 0]);
    expect(sent).toEqual([]);
    write(LCR, 0x80);
    expect([read(0), read(1)]).toEqual([0x34, 0x12]);
  });
});

describe('plain registers', () => {
  it('SCR holds any byte', () => {
    const { read, write } = connected();
    for (const value of [0x00, 0x5a, 0xff]) {
      write(SCR, value);
      expect(read(SCR)).toBe(value);
    }
  });

  it('IER keeps bits 3:0, MCR bits 4:0', () => {
    const { read, write } = connected();
    write(IER, 0xff);
    write(MCR, 0xff);
    expect([read(IER), read(MCR)]).toEqual([0x0f, 0x1f]);
  });

  it('LSR and MSR ignore writes', () => {
    const { read, write } = connected();
    write(LSR, 0xff);
    write(MSR, 0xff);
    expect([read(LSR), read(MSR)]).toEqual([0x60, 0xb0]);
  });
});

describe('receiver', () => {
  it('without FIFOs takes the next byte when the last was read', () => {
    const { read, readAll, waiting } = connected('abc');
    expect(read(LSR)).toBe(0x61);
    expect(waiting.length).toBe(2);
    expect(readAll(3)).toBe('abc');
    expect(read(LSR)).toBe(0x60);
    expect(read(RBR)).toBe(0);
  });

  it('without FIFOs a second arrival overwrites the first and sets OE, which reading LSR clears', () => {
    const { uart, read } = connected();
    uart.receive(0x41);
    uart.receive(0x42);
    expect(read(LSR)).toBe(0x63);
    expect(read(LSR)).toBe(0x61);
    expect(read(RBR)).toBe(0x42);
  });

  it('with FIFOs holds 16; the seventeenth is lost and sets OE', () => {
    const { uart, read, write, readAll } = connected();
    write(FCR, 0x01);
    for (let n = 0; n < 17; n++) uart.receive(0x61 + n);
    expect(read(LSR) & 0x02).toBe(0x02);
    expect(readAll(16)).toBe('abcdefghijklmnop');
    expect(read(LSR)).toBe(0x60);
  });

  it('pulls from a peer that can wait, so that nothing is lost', () => {
    const text = 'the quick brown fox jumps over the lazy dog';
    const { read, write, readAll } = connected(text);
    write(FCR, 0x01);
    expect(readAll(text.length)).toBe(text);
    expect(read(LSR)).toBe(0x60);
  });

  it('an error travels with its character and shows in LSR when that reaches the top; LSR bit 7 says that one waits', () => {
    const { uart, read, write } = connected();
    write(FCR, 0x01);
    uart.receive(0x41);
    uart.receive(0x00, 0x18); // break
    expect(read(LSR)).toBe(0xe1);
    expect(read(RBR)).toBe(0x41);
    expect(read(LSR)).toBe(0xf9);
    expect(read(LSR)).toBe(0xe1);
    expect(read(RBR)).toBe(0);
    expect(read(LSR)).toBe(0x60);
  });
});

describe('FCR', () => {
  it('bit 0 shows in IIR bits 7:6 and clears the FIFO when it changes', () => {
    const { uart, read, write } = connected();
    write(FCR, 0x01);
    expect(read(IIR)).toBe(0xc1);
    uart.receive(0x41);
    write(FCR, 0x01);
    expect(read(LSR)).toBe(0x61);
    write(FCR, 0x00);
    expect([read(IIR), read(LSR)]).toEqual([0x01, 0x60]);
  });

  it('bit 1 clears the receiver FIFO', () => {
    const { uart, read, write } = connected();
    write(FCR, 0x01);
    uart.receive(0x41);
    write(FCR, 0x03);
    expect(read(LSR)).toBe(0x60);
  });

  it.each([
    [0x01, 1],
    [0x41, 4],
    [0x81, 8],
    [0xc1, 14],
  ])('%#x: received data is reported at %i bytes, fewer as a time-out', (fcr, trigger) => {
    const { uart, read, write } = connected();
    write(FCR, fcr);
    write(IER, 0x01);
    for (let n = 1; n < trigger; n++) {
      uart.receive(n);
      expect(read(IIR)).toBe(0xcc);
    }
    uart.receive(trigger);
    expect(read(IIR)).toBe(0xc4);
  });
});

describe('interrupts', () => {
  it('come in order of priority: line status, received data, THR empty, modem status', () => {
    const { uart, read, write } = connected();
    write(MCR, LOOP); // modem lines fall: deltas
    write(MCR, 0);
    write(IER, 0x0f);
    uart.receive(0x41);
    uart.receive(0x42); // overrun
    expect(read(IIR)).toBe(0x06);
    read(LSR);
    expect(read(IIR)).toBe(0x04);
    read(RBR);
    expect(read(IIR)).toBe(0x02); // this read takes it back
    expect(read(IIR)).toBe(0x00);
    read(MSR);
    expect(read(IIR)).toBe(0x01);
  });

  it('a cause that is not enabled does not show', () => {
    const { uart, read } = connected();
    uart.receive(0x41);
    expect(read(IIR)).toBe(0x01);
  });

  it('THR empty comes when enabled, after each byte sent, and goes by reading IIR', () => {
    const { read, write } = connected();
    write(IER, 0x02);
    expect([read(IIR), read(IIR)]).toEqual([0x02, 0x01]);
    write(RBR, 0x41);
    expect([read(IIR), read(IIR)]).toEqual([0x02, 0x01]);
    write(IER, 0x02); // already enabled: no new one
    expect(read(IIR)).toBe(0x01);
  });

  it('reach the line only while OUT2 is on', () => {
    const { uart, write, levels } = connected();
    write(IER, 0x01);
    uart.receive(0x41);
    expect(levels).toEqual([]);
    write(MCR, OUT2);
    expect(levels).toEqual([true]);
    write(MCR, 0);
    expect(levels).toEqual([true, false]);
  });

  it('let the line fall when served, and fall and rise with every byte sent', () => {
    const { uart, write, read, levels } = connected();
    write(MCR, OUT2);
    write(IER, 0x01);
    uart.receive(0x41);
    read(RBR);
    expect(levels).toEqual([true, false]);
    write(IER, 0x02);
    expect(levels).toEqual([true, false, true]);
    write(RBR, 0x42);
    expect(levels).toEqual([true, false, true, false, true]);
  });

  it('tell a guest that waits, when the peer has something after all', () => {
    const { uart, write, levels, waiting } = connected();
    write(MCR, OUT2);
    write(IER, 0x01);
    waiting.push(0x41);
    expect(levels).toEqual([]);
    uart.poll();
    expect(levels).toEqual([true]);
  });
});

describe('loopback', () => {
  it('returns what is sent to the receiver and sends nothing', () => {
    const { read, write, sent } = connected();
    write(LCR, 0x03);
    write(MCR, LOOP);
    write(RBR, 0xa5);
    expect([read(LSR), read(RBR), read(LSR)]).toEqual([0x61, 0xa5, 0x60]);
    expect(sent).toEqual([]);
  });

  it('carries as many bits as the word length says', () => {
    const { read, write } = connected();
    write(MCR, LOOP);
    for (const [lcr, value] of [
      [0, 0x1f],
      [1, 0x3f],
      [2, 0x7f],
      [3, 0xff],
    ] as const) {
      write(LCR, lcr);
      write(RBR, 0xff);
      expect(read(RBR)).toBe(value);
    }
  });

  it('wires DTR, RTS, OUT1, OUT2 to DSR, CTS, RI, DCD', () => {
    const { read, write } = connected();
    for (const [output, input] of [
      [0x01, 0x20],
      [0x02, 0x10],
      [0x04, 0x40],
      [0x08, 0x80],
    ] as const) {
      write(MCR, LOOP | output);
      expect(read(MSR) & 0xf0).toBe(input);
    }
  });

  it('sets the deltas of lines that changed, RI at its trailing edge only', () => {
    const { read, write } = connected();
    write(MCR, LOOP);
    read(MSR);
    write(MCR, LOOP | 0x0f);
    expect(read(MSR)).toBe(0xfb);
    expect(read(MSR)).toBe(0xf0);
    write(MCR, LOOP);
    expect(read(MSR)).toBe(0x0f);
  });

  it('answers the probe of drivers: MCR = LOOP | OUT2 | RTS gives MSR 9xh', () => {
    const { read, write } = connected();
    write(MCR, LOOP | 0x0a);
    expect(read(MSR) & 0xf0).toBe(0x90);
  });

  it('receives the break that it sends', () => {
    const { read, write } = connected();
    write(MCR, LOOP);
    write(LCR, 0x43);
    expect([read(LSR), read(RBR)]).toEqual([0x79, 0]);
  });

  it('does not take from the peer, and forgets nothing of it', () => {
    const { read, write } = connected('x');
    write(MCR, LOOP);
    read(RBR);
    expect(read(LSR)).toBe(0x60);
    write(MCR, 0);
    expect(String.fromCharCode(read(RBR))).toBe('x');
  });

  it('keeps the line inactive', () => {
    const { write, levels } = connected();
    write(IER, 0x0f);
    write(MCR, LOOP | OUT2);
    write(RBR, 0x41);
    expect(levels).toEqual([]);
  });
});
